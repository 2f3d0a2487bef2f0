"""The program as its users start it: a process of its own, on pipes or on a terminal."""

from __future__ import annotations

import json
import os
import select
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dev_postgres_mcp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

OVERRIDE = "POSTGRES_TEST_COMMAND"
"""Environment variable: another command to test, such as a wheel's console script."""
PATIENCE = 60.0
"""Seconds after which a test gives up on a process: a create on a busy machine, and then some."""
ROOMY = {"DEV_POSTGRES_MCP_MAX_INSTANCES": "10000", "DEV_POSTGRES_MCP_MAX_TOTAL_MEMORY": "1000t"}
"""Ceilings that other people's instances on a shared engine do not fill."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A process that has ended: what it said and how."""

    code: int
    stdout: str
    stderr: str

    @property
    def data(self) -> Any:
        """What it wrote as JSON."""
        return json.loads(self.stdout)


@dataclass(frozen=True, kw_only=True)
class Program:
    """How to start the program, in a directory and an environment of the test's own."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path

    def having(self, **variables: str) -> Program:
        """Return the program with further environment variables."""
        return replace(self, environment={**self.environment, **variables})

    def without(self, *variables: str) -> Program:
        """Return the program with fewer environment variables."""
        kept = {key: value for key, value in self.environment.items() if key not in variables}
        return replace(self, environment=kept)

    def run(self, *arguments: str, stdin: str = "", code: int | None = 0) -> Ended:
        """Run a command to its end; `code` is the exit code that is expected, None for any."""
        done = subprocess.run(
            [*self.command, *arguments],
            input=stdin,
            env=self.environment,
            cwd=self.directory,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )
        assert code is None or done.returncode == code, (
            f"exit code {done.returncode}, not {code}: {done.stdout}{done.stderr}"
        )
        return Ended(code=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def shell(self, script: str) -> Ended:
        """Run a script in a real `sh` that finds `dev-postgres-mcp` on its PATH and a Python in $PYTHON."""
        folder = self.directory / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "dev-postgres-mcp").write_text(f'#!/bin/sh\nexec {shlex.join(self.command)} "$@"\n')
        (folder / "dev-postgres-mcp").chmod(0o700)
        there = self.having(PATH=f"{folder}:{self.environment['PATH']}", PYTHON=sys.executable)
        return replace(there, command=("sh", "-c")).run(script)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command on pipes."""
        return subprocess.Popen(
            [*self.command, *arguments],
            env=self.environment,
            cwd=self.directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def on_terminal(self, *arguments: str) -> Terminal:
        """Start a command with a person at a terminal."""
        return Terminal(self, arguments)


def find_command() -> tuple[str, ...]:
    """Return the command under test: the override, the installed console script, or `python -m`."""
    if override := os.environ.get(OVERRIDE):
        return tuple(shlex.split(override))
    script = shutil.which("dev-postgres-mcp", path=str(Path(sys.executable).parent))
    return (script,) if script else (sys.executable, "-m", "dev_postgres_mcp")


def make_program(home: Path, docker_host: str, **variables: str) -> Program:
    """Return the program for a user whose home is `home` and whose engine is at `docker_host`."""
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.upper().startswith(("DEV_POSTGRES_MCP_", "DOCKER_", "PG", "XDG_")) and key != OVERRIDE
    }
    environment = {
        **inherited,
        "HOME": str(home),
        "USERPROFILE": str(home),
        "PYTHONPATH": str(Path(dev_postgres_mcp.__file__).parent.parent),
        "PYTHONUTF8": "1",
        "DOCKER_HOST": docker_host,
        **ROOMY,
        **variables,
    }
    return Program(command=find_command(), environment=environment, directory=home)


class Terminal:
    """A command on a pseudo-terminal, and the person in front of it."""

    def __init__(self, program: Program, arguments: tuple[str, ...]) -> None:
        import pty  # not on Windows

        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [*program.command, *arguments],
            env={**program.environment, "TERM": "xterm"},
            cwd=program.directory,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.screen = ""

    def expect(self, text: str) -> None:
        """Wait until `text` has appeared on the screen."""
        end = time.monotonic() + PATIENCE
        while text not in self.screen:
            assert time.monotonic() < end, f"{text!r} never came: {self.screen!r}"
            assert self._read(1.0), f"{text!r} never came before the end: {self.screen!r}"

    def type(self, text: str) -> None:
        """Type on the keyboard."""
        os.write(self._master, text.encode())

    def finish(self) -> int:
        """Wait for the end and return the exit code."""
        while self._read(PATIENCE):
            pass
        return self._process.wait(PATIENCE)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._master)

    def _read(self, seconds: float) -> bool:
        """Read what is on the screen; False at its end."""
        if not select.select([self._master], [], [], seconds)[0]:
            return self._process.poll() is None
        try:
            content = os.read(self._master, 65536)
        except OSError:  # Linux says EIO when the last process has left the terminal
            return False
        self.screen += content.decode("utf-8", "replace")
        return bool(content)
