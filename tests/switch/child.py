"""The switch as an ordinary child process, over a fake server, in a home below a temporary directory.

What it needs of the kernel and the clock that a test cannot arrange otherwise (clients, memory kills, a set
clock) are files in the kernel's form, and a `date` of its own in front of PATH.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import chain
from pathlib import Path
from signal import SIGKILL, SIGUSR1, SIGUSR2, Signals

import pytest

from dev_postgres_mcp.runtimes.docker.files import COMPLETE
from tests.helpers.stages import wait_until

ID = "k3v9x2m4q7ab"
OTHER_ID = "zzzzzzzzzzzz"
SCRIPT = Path(str(files("dev_postgres_mcp.runtimes.docker").joinpath("shell", "switch.sh")))
FAKE_SERVER = Path(__file__).with_name("fake_server.py")
SHELLS = ("dash", "busybox", "bash")
TICK, IDLE_TICK = 60, 30
"""The longest sleeps."""
SOON = 5.0
"""Seconds in which anything has happened that is to happen at once, on the slowest machine."""

_SNMP = """\
Ip: Forwarding DefaultTTL InReceives
Ip: 1 64 100
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab
Tcp: 1 200 120000 -1 7 {accepted} 0 0 0
Udp: InDatagrams NoPorts InErrors
Udp: 1 0 0
"""
_ROWS = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   999        0 111 1
   1: 0200A8C0:C822 0300A8C0:1538 01 00000000:00000000 00:00000000 00000000   999        0 112 1
{client}"""
_CLIENT = (
    "   2: 0200A8C0:1538 0100A8C0:C822 {state} 00000000:00000000 00:00000000 00000000   999        0 113 1\n"
)
_CLOCK = '#!/bin/sh\necho $(($(/bin/date +%s) + $(cat "$0.ahead")))\n'


@dataclass(frozen=True)
class Shell:
    """A shell that images have as /bin/sh."""

    name: str

    def command(self) -> list[str]:
        """Return how it is started as /bin/sh is; a missing one is a failure."""
        if shutil.which(self.name) is None:
            pytest.fail(f"this test needs {self.name}: `make services` installs it")
        options = {"busybox": ["sh"], "bash": ["--posix"]}
        return [self.name, *options.get(self.name, [])]


@dataclass
class Switch:
    """One switch and what lies around it."""

    shell: Shell
    root: Path
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home, self.proc, self.cgroup = (self.root / name for name in ("home", "proc", "cgroup"))
        self.data, self.state, self.secret = (self.home / name for name in ("data", "state", "secret"))
        self._commands = self.root / "bin"
        for directory in (self.data, self.secret, self.proc / "net", self.cgroup, self._commands):
            directory.mkdir(parents=True)
        self.set_uptime(1000)
        self.set_clients(accepted=5)

    def start(
        self,
        *server: str,
        birth_end: float | None = None,
        hard_end: float = 0,
        kind: str = "fresh",
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        """Start the switch over a fake server; by default it lives for minutes."""
        ends = [str(int(end)) for end in (hard_end, time.time() + 500 if birth_end is None else birth_end)]
        command = server or ("serve",)
        if not command[0].startswith("/"):
            command = (sys.executable, "-I", "-S", str(FAKE_SERVER), *command)
        for name in ("up", "heard", "go"):
            (self.data / name).unlink(missing_ok=True)
        self.children.append(
            subprocess.Popen(
                [*self.shell.command(), str(SCRIPT), ID, *ends, kind, *command],
                env={
                    "PATH": f"{self._commands}:{os.environ['PATH']}",
                    "PGDATA": str(self.data),
                    "DEV_POSTGRES_MCP_HOME": str(self.home),
                    "DEV_POSTGRES_MCP_PROC": str(self.proc),
                    "DEV_POSTGRES_MCP_CGROUP": str(self.cgroup),
                    "DEV_POSTGRES_MCP_SOCKET": str(self.root / ".s.PGSQL.5432"),
                    "POSTGRES_PASSWORD_FILE": str(self.secret / "password"),
                },
                stdin=stdin,
                start_new_session=True,
            )
        )

    def start_and_wait(self, *server: str, birth_end: float | None = None, hard_end: float = 0) -> None:
        """Start, and return when the server is up and the switch asleep."""
        self.start(*server, birth_end=birth_end, hard_end=hard_end)
        wait_until((self.data / "up").exists, seconds=SOON)
        wait_until(self._timers, seconds=SOON)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self.children[-1]

    @property
    def server(self) -> int:
        """The server's process."""
        return int((self.data / "up").read_text())

    def signal(self, number: Signals) -> None:
        self.process.send_signal(number)

    def put(self, content: dict[str, str], *, whole: bool = True, owner: str = ID) -> Path:
        """Lay down a parcel, as the engine does: one file after the other, the mark last."""
        parcel = self.home / f"inbox-{owner}-{secrets.token_hex(4)}"
        parcel.mkdir(mode=0o700)
        for name, text in content.items():
            file = parcel / name
            file.write_text(text)
            file.chmod(0o600)
        if whole:
            (parcel / COMPLETE).touch()
        return parcel

    def deliver(self, content: dict[str, str], *, by: Signals = SIGUSR1) -> None:
        """Have the switch take in a parcel, and return when it has acted on it."""
        wait_until(self._rests, seconds=SOON)
        parcel = self.put(content)
        if self.alive:
            self.signal(by)
        wait_until(lambda: not (parcel.exists() and self.alive), seconds=SOON)
        wait_until(self._rests, seconds=SOON)

    def look(self) -> bool:
        """Make the switch look around once, and tell whether it still lives when it has.

        By the signal after which no other one follows a moment later.
        """
        self.deliver({}, by=SIGUSR2)
        return self.alive

    def _rests(self) -> bool:
        """Tell whether the switch has ended, or sleeps and runs nothing but its server and what sleeps itself."""
        if not self.alive:
            return True
        servers = self.servers()
        timers = [child for child in _children(self.process.pid) if child not in servers]
        sleepers = [_children(timer) for timer in timers]
        return (
            state_of(self.process.pid) == "S"
            and bool(timers)
            and all(sleepers)
            and all("sleep" in command_of(sleeper) for sleeper in chain(*sleepers))
        )

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_ended(self, *, seconds: float = SOON) -> int:
        """Return the switch's exit code; raises when it does not end."""
        return self.process.wait(seconds)

    @property
    def sleep(self) -> int:
        """For how many seconds at most the switch sleeps, from when it fell asleep."""
        wait_until(self._timers, seconds=SOON)
        return self._timers()[-1]

    def _timers(self) -> list[int]:
        """Return how long each timer sleeps, the newest last: what is not needed any more runs out."""
        timers = []
        for child in _children(self.process.pid):
            for sleeper in _children(child):
                match command_of(sleeper):
                    case [*_, "sleep", seconds] if seconds.isdigit():
                        timers.append(int(seconds))
        return timers

    def processes(self) -> list[int]:
        """Return the processes of the session that still live."""
        found = []
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                with suppress(OSError):
                    stat = (process / "stat").read_text()
                    state, _, _, session, *_ = stat.rpartition(")")[2].split()
                    if int(session) == self.process.pid and state not in "XZ":
                        found.append(int(process.name))
        return found

    def servers(self) -> list[int]:
        """Return the servers of the session that still live."""
        return [process for process in self.processes() if command_of(process)[:1] == [sys.executable]]

    def cpu(self) -> float:
        """Return the seconds of processor time that the switch and what it has waited for have used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")

    def set_uptime(self, seconds: float) -> None:
        _replace(self.proc / "uptime", f"{seconds:.2f} 4242.42\n")

    def set_clients(self, *, accepted: int, connected: bool = False, table: str = "tcp") -> None:
        """Say how many connections were ever accepted, and whether one is open; a closing one is none."""
        _replace(self.proc / "net" / "snmp", _SNMP.format(accepted=accepted))
        for name in ("tcp", "tcp6"):
            state = "01" if connected and name == table else "06"
            _replace(self.proc / "net" / name, _ROWS.format(client=_CLIENT.format(state=state)))

    def set_clock_ahead(self, seconds: int) -> None:
        """Set the clock on the wall."""
        _replace(self._commands / "date.ahead", f"{seconds}\n")
        if not (clock := self._commands / "date").exists():
            clock.write_text(_CLOCK)
            clock.chmod(0o755)

    def close(self) -> None:
        """Leave no process behind."""
        for child in self.children:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, SIGKILL)
            child.communicate()


def busy_wait(seconds: float) -> None:
    """Let a moment pass that is too short to sleep."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def _replace(file: Path, text: str) -> None:
    fresh = file.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.replace(file)


def _children(process: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def state_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def command_of(process: int) -> list[str]:
    try:
        return Path(f"/proc/{process}/cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []
