"""Starts instances: lays out their directories, has a supervisor look after each, and takes back what failed."""

from __future__ import annotations

import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import DiskFull, EngineFailed, PortConflict
from dev_postgres_mcp.model import Evidence
from dev_postgres_mcp.runtimes.base import NO_LEASE, Role, State
from dev_postgres_mcp.runtimes.embedded import processes
from dev_postgres_mcp.runtimes.embedded.cgroups import cgroup_name, make_cgroups
from dev_postgres_mcp.runtimes.embedded.container import Birth, render_plan, role_file
from dev_postgres_mcp.runtimes.embedded.failures import translating
from dev_postgres_mcp.runtimes.embedded.files import (
    CONFLICT,
    DONE,
    ENDED,
    INIT,
    KEEP,
    LOCK,
    LOG,
    PLAN,
    READY,
    SPARE,
    STATE,
    SUPERVISOR,
    Plan,
    find_plan,
    is_held,
    read_process,
    read_text,
    write_whole,
)
from dev_postgres_mcp.runtimes.embedded.leftovers import UNFINISHED, put_away
from dev_postgres_mcp.runtimes.records import state_to_json
from dev_postgres_mcp.runtimes.throwaway import throwaway_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dev_postgres_mcp.model import InitFile
    from dev_postgres_mcp.runtimes.base import Kind, Launch
    from dev_postgres_mcp.runtimes.embedded.providers import Provider
    from dev_postgres_mcp.runtimes.embedded.storage import Ground

ISOLATED = (sys.executable, "-I", "-S")
"""An interpreter that reads nothing but what it is told to."""
_PACKAGE_HOME = Path(__file__).parents[3]
_MODULE = "dev_postgres_mcp.runtimes.embedded.supervisor"
_LOOK_SECONDS = 0.1
_POLL_SECONDS = 0.003
_REMOVE_SECONDS = 12.0
"""For a supervisor to end its server and itself; usual is a few hundredths."""
_LOG_LINES = 20
_SHARED_BUFFERS = 128 * 1024**2
_UNBOUNDED = "no control group can be made here: memory is bounded for each of its processes only, and processors are not"


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a cluster is made from: the data directory of an image, or nothing, and by which programs."""

    provider: Provider
    kind: Kind | None = None
    data: Path | None = None


class Launcher:
    """Starts and ends instances of one ground.  Thread-safe; keeps nothing."""

    def __init__(self, ground: Ground, interpreter: Sequence[str] = ISOLATED) -> None:
        """Lay out directories on `ground`; run supervisors by `interpreter`."""
        self._ground = ground
        self._interpreter = tuple(interpreter)

    def launch(self, launch: Launch, source: Source, port: int, *, deadline: Deadline) -> Path:
        """Return the directory of a server that was started; raises PortConflict when somebody has the port.

        One that could not be started stays as evidence.
        """
        directory = self.lay_out(launch, source, port)
        with self.taking_back(directory, deadline):
            word = self.supervise(directory, deadline=deadline)
        if word == CONFLICT:
            self.remove(directory)
            raise PortConflict(f"port {port} is taken by another program")
        return directory

    def lay_out(self, launch: Launch, source: Source, port: int, *, build: bool = False) -> Path:
        """Write an instance's directory, and return it; from then on it is listed."""
        container_id, now = secrets.token_hex(32), datetime.now(UTC)
        final = self._ground.instances / container_id
        ready_by = now + timedelta(seconds=launch.patience)
        with translating("laying out an instance"), _laying_out(final) as directory:
            cgroups = make_cgroups(
                cgroup_name(container_id), memory=launch.limits.memory, cpus=launch.limits.cpus
            )
            plan = Plan(
                programs=str(source.provider.bin_directory),
                major=int(source.provider.major),
                environment=dict(source.provider.environment),
                data=str(self._ground.place_cluster(final, bounded=bool(cgroups))),
                source=str(source.data or ""),
                username=launch.bootstrap.username,
                database=launch.bootstrap.database,
                new=source.kind is None and launch.bootstrap.database != "postgres",
                port=port,
                settings=_server_settings(launch),
                cgroups=cgroups,
                memory=launch.limits.memory,
                birth_end=ready_by.timestamp(),
                hard_end=launch.hard_end.timestamp() if launch.hard_end else 0.0,
                build=build,
            )
            birth = Birth(
                container_id=container_id,
                port=port,
                created_at=now,
                ready_by=ready_by,
                image_kind=source.kind,
                note="" if cgroups else _UNBOUNDED,
            )
            _write_directory(directory, launch, birth, plan)
        return final

    def supervise(self, directory: Path, *, deadline: Deadline) -> str:
        """Have a supervisor look after a directory, and return what it says of its server.

        It lives on when it says something; when the wait is cut off, or we die meanwhile, it ends and takes the
        directory with it.  Raises EngineFailed when it says nothing.
        """
        with _supervisor(self._interpreter, directory) as (asking, answering):
            word = _listen(answering, deadline)
            if word in {READY, ENDED}:
                with suppress(OSError):
                    os.write(asking, KEEP)
        if not word:
            raise EngineFailed(
                "the process that was to look after a server could not start",
                hint="the log lines say why; `dev-postgres-mcp doctor` looks at the rest",
                evidence=Evidence(log_tail=read_log(directory)),
            )
        return word

    def build(self, directory: Path, *, deadline: Deadline) -> None:
        """Have the cluster of a directory made, and no server started; raises EngineFailed with what was logged."""
        try:
            with _supervisor(self._interpreter, directory) as (_, answering):
                word = _listen(answering, deadline)
        except BaseException:
            self._end_supervisor(directory, deadline.undoing(), signal.SIGQUIT)
            raise
        if word != DONE:
            _raise_if_full(read_text(str(directory / LOG)))
            raise EngineFailed(
                "the cluster could not be made",
                hint="the log lines say why",
                evidence=Evidence(log_tail=read_log(directory)),
            )

    @contextmanager
    def taking_back(self, directory: Path, deadline: Deadline) -> Iterator[None]:
        """Remove a directory again when what is done with it fails."""
        try:
            yield
        except BaseException:
            self.remove(directory, deadline=deadline.undoing())
            raise

    def remove(self, directory: Path, *, deadline: Deadline | None = None) -> bool:
        """End an instance and remove all that it has; False when somebody else did, or does.

        It is gone when this returns, whoever removed it.
        """
        try:
            (directory / "removing").mkdir()
            first = True
        except FileExistsError:
            first = False
        except FileNotFoundError:
            return False
        plan = find_plan(str(directory))
        waiting = (deadline or Deadline(_REMOVE_SECONDS)).part(_REMOVE_SECONDS)
        self._end_supervisor(directory, waiting, signal.SIGQUIT)
        if directory.exists():
            with translating(f"removing {directory}"):
                put_away(str(directory), plan)
        return first

    def stop(self, directory: Path, *, deadline: Deadline) -> None:
        """End an instance so that its clients hear of it (57P01), and remove all that it has."""
        self._end_supervisor(directory, deadline, signal.SIGTERM)
        self.remove(directory)

    def wake(self, directory: Path) -> None:
        """Have its supervisor look at its files now."""
        if process := read_process(str(directory / SUPERVISOR)):
            processes.send(*process, signal.SIGUSR1)

    def _end_supervisor(self, directory: Path, deadline: Deadline, number: signal.Signals) -> None:
        """Return when it is gone: by itself, or killed when the time is over."""
        process = read_process(str(directory / SUPERVISOR))
        if process is None:
            return
        for asked in (signal.SIGCONT, number):
            processes.send(*process, asked)
        while directory.exists() and is_held(str(directory / LOCK)):
            if deadline.remaining() <= 0:
                processes.send(*process, signal.SIGKILL)
                return
            deadline.sleep(_POLL_SECONDS)


def copy_init(init: Sequence[InitFile], directory: Path) -> None:
    """Put scripts, and what they need, into a directory; raises OSError."""
    for file in init:
        target = directory / INIT / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file.path, target)
    if init:
        _open_to_all(directory / INIT)


def read_log(directory: Path, lines: int = _LOG_LINES) -> str:
    """Return the end of a directory's log."""
    return "\n".join(read_text(str(directory / LOG)).splitlines()[-lines:])


def _open_to_all(directory: Path) -> None:
    """Let the user that a server runs as read scripts; the directory above them is closed to others."""
    directory.chmod(0o755)
    for path in directory.rglob("*"):
        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)


@contextmanager
def _laying_out(final: Path) -> Iterator[Path]:
    """Yield a directory that takes its place when it is whole; raises OSError."""
    aside = final.with_name(f"{UNFINISHED}{final.name}")
    try:
        aside.mkdir(mode=0o711)
        yield aside
        aside.rename(final)
    except BaseException:
        put_away(str(aside), find_plan(str(aside)))
        raise


def _write_directory(directory: Path, launch: Launch, birth: Birth, plan: Plan) -> None:
    write_whole(str(directory / PLAN), render_plan(launch, birth, plan))
    write_whole(str(directory / STATE), _first_state(launch))
    if launch.spare_until is not None:
        write_whole(str(directory / SPARE), f"{ceil(launch.spare_until.timestamp())}\n".encode())
    write_whole(str(directory / role_file(launch.role)), b"")
    copy_init(launch.init, directory)


def _first_state(launch: Launch) -> bytes:
    lease = NO_LEASE if launch.role in {Role.SPARE, Role.WARMING} else launch.lease
    state = dict(state_to_json(State(record=launch.record, lease=lease)))
    if launch.role in {Role.SPARE, Role.WARMING}:
        state["lease"] = ""
    return json.dumps(state).encode()


def _server_settings(launch: Launch) -> dict[str, str]:
    """Return the settings of a throwaway server; its cache is a quarter of its memory at most."""
    buffers = (
        min(_SHARED_BUFFERS, max(launch.limits.memory // 4, 16 * 1024**2))
        if launch.limits.memory
        else _SHARED_BUFFERS
    )
    return {
        **throwaway_settings(launch.image.version),
        "shared_buffers": f"{buffers // 1024}kB",
        "timezone": "GMT",
        "log_timezone": "GMT",
        **launch.settings,
    }


@contextmanager
def _supervisor(interpreter: Sequence[str], directory: Path) -> Iterator[tuple[int, int]]:
    """Start a supervisor; yield where it is asked and where it answers.  It is alone when the block is left."""
    program = f"import sys; sys.path.insert(0, sys.argv[1]); from {_MODULE} import main; main(sys.argv[2])"
    starter = subprocess.Popen(
        [*interpreter, "-c", program, str(_PACKAGE_HOME), str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    assert starter.stdin is not None and starter.stdout is not None  # noqa: PT018, S101 - pipes were asked for
    with starter.stdin as asking, starter.stdout as answering:
        # It has left a child behind that has both ends, and is gone itself.
        starter.wait()
        yield asking.fileno(), answering.fileno()


def _listen(answering: int, deadline: Deadline) -> str:
    """Return the word that is said, nothing when whoever was to say it is gone."""
    said = b""
    while not said.endswith(b"\n"):
        deadline.check("waiting for a server to start")
        ready, _, _ = select.select([answering], [], [], min(_LOOK_SECONDS, deadline.remaining()))
        if ready:
            chunk = os.read(answering, 64)
            if not chunk:
                return ""
            said += chunk
    return said.strip().decode("ascii", "replace")


def _raise_if_full(log: str) -> None:
    if "No space left on device" in log:
        raise DiskFull("the disk has no room left for a cluster", hint="make room, then try again")
