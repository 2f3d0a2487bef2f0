"""One PostgreSQL server as a child process: made, given its password, started, stopped and copied.

Standard library only: the supervisor runs this without our dependencies.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from dev_postgres_mcp.runtimes.embedded import copying, processes
from dev_postgres_mcp.runtimes.embedded.files import SERVER, read_text, write_whole
from dev_postgres_mcp.runtimes.embedded.identity import STEP_DOWN, become, choose_identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dev_postgres_mcp.runtimes.embedded.files import Plan
    from dev_postgres_mcp.runtimes.embedded.identity import Identity

_BUILTIN_LOCALES_SINCE = 17
_CHECKSUMS_BY_DEFAULT_SINCE = 18
_READY_LINE = 8
_PID_FILE = "postmaster.pid"
_STILL_TRIES = 500
_STILL_PAUSE = 0.002
QUIET = {
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_error_statement": "panic",
    "password_encryption": "scram-sha-256",
}
"""Whatever the cluster's own settings are: none may log a password that is being set."""
_ALONE = {"max_connections": "10", "shared_buffers": "4MB", "autovacuum": "off", "fsync": "off"}


class Failed(Exception):
    """A step did not work; what it had to say is in the log."""


class Server:
    """The server of one plan.  Used by one thread, that of its supervisor."""

    def __init__(self, plan: Plan, directory: str, log: int) -> None:
        """Write what all programs say to `log`."""
        self._plan = plan
        self._directory = directory
        self._log = log
        self._identity = choose_identity()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def identity(self) -> Identity:
        """As whom it runs."""
        return self._identity

    @property
    def pid(self) -> int:
        """The server's process id; 0 while there is none."""
        return self._process.pid if self._process else 0

    def place_cluster(self) -> None:
        """Copy the cluster, or begin a new one; raises OSError and Failed."""
        plan = self._plan
        if plan.source:
            copying.copy_cluster(plan.source, plan.data)
        else:
            os.mkdir(plan.data, 0o700)
        if self._identity.way == STEP_DOWN:
            self._give_away(plan.data)
        if not plan.source:
            self._run("initdb", self._initdb_arguments(), {"TZ": "GMT", "LC_ALL": "C"})
            self._trim()

    def _trim(self) -> None:
        """Leave out of a new cluster what every copy of it would have for nothing."""
        copying.trim_cluster(self._plan.data)
        # A log of one file, in place of several that wait to be used; not all who bring a server bring this program.
        if os.path.exists(self._program("pg_resetwal")):
            self._run("pg_resetwal", ["-D", self._plan.data], {})

    def adjust(self, statements: Sequence[str]) -> None:
        """Run statements, one line each, before anybody can log in; raises Failed when the server ends by that.

        The single-user mode needs no password and no socket; it first brings a copied cluster to rest.
        """
        settings = {**QUIET, **_ALONE, **self._shared_memory()}
        arguments = ["--single", "-D", self._plan.data, *_as_options(settings), "template1"]
        lines = ("SET default_transaction_read_only = off", *statements)
        self._run("postgres", arguments, {}, "".join(f"{line}\n" for line in lines).encode())

    def start(self, settings: Mapping[str, str]) -> None:
        """Start it with its plan's settings and these on top."""
        plan = self._plan
        ours = {**self._shared_memory(), "lc_messages": "C", **settings}
        command = [self._program("postgres"), "-D", plan.data, *_as_options({**plan.settings, **ours})]
        self._process = self._spawn(command, {}, stdin=subprocess.DEVNULL, stdout=self._log)
        note = f"{self._process.pid} {processes.started_at(self._process.pid)}\n"
        write_whole(os.path.join(self._directory, SERVER), note.encode())

    def is_ready(self) -> bool:
        """Tell whether it takes clients: it says so in the eighth line of its pid file (since version 10)."""
        lines = read_text(f"{self._plan.data}/{_PID_FILE}").splitlines()
        return len(lines) >= _READY_LINE and lines[_READY_LINE - 1].strip() == "ready"

    def poll(self) -> int | None:
        """Return its exit code, 128 and the signal's number for one that was killed; None while it runs."""
        code = self._process.poll() if self._process else None
        return code if code is None or code >= 0 else 128 - code

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: INT for a fast stop, QUIT for an immediate one."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    def stand_still(self) -> bool:
        """Stop all of its processes where they are; False when they could not be brought to that."""
        known: set[int] = set()
        for _ in range(_STILL_TRIES):
            found = [pid for pid in processes.tree(self.pid) if pid not in known]
            for pid in found:
                with suppress(OSError):
                    os.kill(pid, signal.SIGSTOP)
            known.update(found)
            # What one of them has just started is only seen in the next round.
            if not found and all(
                processes.stands_still(pid) or not processes.started_at(pid) for pid in known
            ):
                return True
            time.sleep(_STILL_PAUSE)
        return False

    def go_on(self) -> None:
        """Let them all go on, the server itself last."""
        for pid in reversed(processes.tree(self.pid) if self.pid else []):
            with suppress(OSError):
                os.kill(pid, signal.SIGCONT)

    def run_script(self, command: Sequence[str], variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a program as the server's user, with what it says in the log."""
        return self._spawn(command, variables, stdin=subprocess.DEVNULL, stdout=self._log)

    def _run(
        self, program: str, arguments: Sequence[str], variables: Mapping[str, str], text: bytes = b""
    ) -> None:
        """Run one of PostgreSQL's programs; of what it says only complaints are kept."""
        command = [self._program(program), *arguments]
        process = self._spawn(command, variables, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            process.communicate(text)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.returncode != 0:
            raise Failed(f"{program} ended with exit code {process.returncode}")

    def _spawn(
        self, command: Sequence[str], variables: Mapping[str, str], *, stdin: int, stdout: int
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=self._log,
            env=self._environment(variables),
            cwd="/",
            start_new_session=True,
            preexec_fn=self._become(),  # noqa: PLW1509 - a supervisor has one thread
        )

    def _become(self) -> partial[None]:
        return partial(become, self._identity, self._plan.cgroups, self._plan.memory, os.getpid())

    def _program(self, name: str) -> str:
        return os.path.join(self._plan.programs, name)

    def _environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        return {"PATH": os.defpath, "LC_ALL": "C", **self._plan.environment, **variables}

    def _shared_memory(self) -> dict[str, str]:
        """Files in the data directory: those of POSIX outlive a server that is killed."""
        return {"dynamic_shared_memory_type": "mmap"}

    def _initdb_arguments(self) -> list[str]:
        plan = self._plan
        locale = (
            ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
            if plan.major >= _BUILTIN_LOCALES_SINCE
            else ["--locale=C"]
        )
        checksums = ["--no-data-checksums"] if plan.major >= _CHECKSUMS_BY_DEFAULT_SINCE else []
        return [
            *("-D", plan.data, "-U", plan.username, "--encoding=UTF8", "--no-sync", "--wal-segsize=1"),
            *("--auth-host=scram-sha-256", "--auth-local=reject", *locale, *checksums),
        ]

    def _give_away(self, directory: str) -> None:
        for path, _, names in os.walk(directory):
            for name in (".", *names):
                os.chown(os.path.join(path, name), self._identity.uid, self._identity.gid)


def _as_options(settings: Mapping[str, str]) -> list[str]:
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
