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
from typing import TYPE_CHECKING, Any, Self

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
NO_POOL = {"DEV_POSTGRES_MCP_POOL_SIZE": "0"}
"""A server that starts nothing by itself."""


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

    def named(self, *command: str) -> Program:
        """Return the program as another command starts it."""
        return replace(self, command=command)

    def complete(self, words: str, *, instruction: str = "complete_bash") -> Ended:
        """Ask for completions as a shell does that has `dev-postgres-mcp WORDS` on its line."""
        line = f"dev-postgres-mcp {words}"
        count = len(shlex.split(line)) - (not line.endswith(" "))
        asked = {"_DEV_POSTGRES_MCP_COMPLETE": instruction, "COMP_WORDS": line, "COMP_CWORD": str(count)}
        return self.having(**asked).run()

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


def dead_engine(home: Path) -> str:
    """Return an address at which no engine answers."""
    return "npipe:////./pipe/no.sock" if sys.platform == "win32" else f"unix://{home}/no.sock"


def alone(session: str) -> dict[str, str]:
    """Return settings under which nobody else's spare is claimed, and ours by nobody else: odd limits."""
    return {
        "DEV_POSTGRES_MCP_SESSION": session,
        "DEV_POSTGRES_MCP_CPUS": f"0.9{int.from_bytes(session.encode()[-4:]) % 10**8:08}",
    }


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
        "DEV_POSTGRES_MCP_RUNTIME": "docker",
        **ROOMY,
        **variables,
    }
    return Program(command=find_command(), environment=environment, directory=home)


class Terminal:
    """A command on a pseudo-terminal, and the person in front of it."""

    def __init__(self, program: Program, arguments: tuple[str, ...]) -> None:
        import pty  # not on Windows

        self._master, slave = pty.openpty()
        # The first terminal that a new session opens becomes its own, and Ctrl-C then reaches it.
        self._process = subprocess.Popen(
            ["sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1', os.ttyname(slave), *program.command, *arguments],
            env={**program.environment, "TERM": "xterm"},
            cwd=program.directory,
            start_new_session=True,
        )
        self._slave = slave  # kept open until the child has ended: else an early read meets the end
        self.screen = ""

    @property
    def ended(self) -> bool:
        """Whether the command has ended."""
        return self._process.poll() is not None

    def expect(self, text: str) -> None:
        """Wait until `text` has appeared on the screen."""
        end = time.monotonic() + PATIENCE
        while text not in self.screen:
            assert time.monotonic() < end, f"{text!r} never came: {self.screen!r}"
            if not self._read(0.1):
                assert not self.ended, f"{text!r} never came: {self.screen!r}"

    def enter(self, text: str) -> None:
        """Type on the keyboard."""
        os.write(self._master, text.encode())

    def finish(self) -> int:
        """Wait for the end and return the exit code."""
        end = time.monotonic() + PATIENCE
        while not self.ended:
            assert time.monotonic() < end, f"no end: {self.screen!r}"
            self._read(0.02)
        while self._read(0):
            pass
        return self._process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.ended:
            self._process.kill()
            self._process.wait()
        os.close(self._slave)
        os.close(self._master)

    def _read(self, seconds: float) -> bool:
        """Read what has come to the screen within `seconds`; False when nothing has."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        self.screen += os.read(self._master, 65536).decode("utf-8", "replace")
        return True
