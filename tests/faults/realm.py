"""The second engine with everything on it counted, and our own program at work beside its ports."""

from __future__ import annotations

import ctypes
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from dev_postgres_mcp.app import App, assemble_app, build_app, docker_options
from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import DevPostgresError
from dev_postgres_mcp.instances import Policy, build_spec
from dev_postgres_mcp.instances.specs import build_branch_spec
from dev_postgres_mcp.instances.sweeping import Sweeper
from dev_postgres_mcp.model import Owner
from dev_postgres_mcp.runtimes.docker import DockerRuntime
from dev_postgres_mcp.runtimes.docker.state import FROZEN, STATE_DIRECTORY
from dev_postgres_mcp.settings import load_settings, read_surroundings
from dev_postgres_mcp.sql.client import PsycopgSql
from tests.faults.second_engine import wait_until
from tests.integration.queries import dsn_of, rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from dev_postgres_mcp.model import Instance, Leftover
    from dev_postgres_mcp.settings import Settings
    from tests.faults.second_engine import SecondEngine

T = TypeVar("T")

PORTS = range(15432, 25433)
LATER = timedelta(minutes=20)
"""Long enough for every grace of a sweep to be over; that of an image that is made by itself is the longest."""
NEVER = "1d"
_NEW_NETWORK = 0x40000000
_LISTENING = "0A"


class Realm:
    """One engine, a thread beside its ports, and a program of the test's own on that thread."""

    def __init__(self, engine: SecondEngine) -> None:
        """Work on `engine`, as one user of its machine with those who are begun there."""
        self.engine = engine
        self._state = engine.home / "state" / "dev-postgres-mcp"
        self._holder = int(engine.enter()[1].partition("=")[2])
        self._threads = ThreadPoolExecutor(1, initializer=_enter_network, initargs=(self._holder,))
        loaded = load_settings({"docker_host": engine.address, "session": "neighbour"}).settings
        self.app = self._build_app(loaded)
        self._keep_commands_from_sweeping(loaded)

    def _build_app(self, loaded: Settings) -> App:
        surroundings = replace(read_surroundings(), state_directory=self._state)
        return assemble_app(
            loaded,
            runtime=DockerRuntime(docker_options(loaded, surroundings)),
            sql=PsycopgSql(),
            owner=Owner(session=loaded.session, user="tester", cwd="/somewhere", process="host:1 pytest"),
        )

    def _keep_commands_from_sweeping(self, loaded: Settings) -> None:
        """Let the last sweep have been in the future: here a test alone says when."""
        noted = build_app(loaded, session="", program="").swept_file
        assert noted is not None
        swept = self._state / noted.name
        self._state.mkdir(parents=True, exist_ok=True)
        swept.touch()
        os.utime(swept, (time.time() + 86_400,) * 2)

    def close(self) -> None:
        """End the thread and let go of the engine."""
        self.app.close()
        self._threads.shutdown()

    def inside(self, call: Callable[[], T]) -> T:
        """Return what a call returns beside the engine's ports, where what it starts is too."""
        return self._threads.submit(call).result()

    def rows(self, dsn: str, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of one statement."""
        return self.inside(lambda: rows(dsn, statement))

    def create(self, **asked: Any) -> Instance:
        """Return an instance of the neighbour, who is there for long and is no business of anybody else's."""
        spec = build_spec(self.app.defaults, **{"ttl": NEVER, **asked})
        return self.inside(lambda: self.app.manager.create(spec))

    def take(self, source: Instance, name: str) -> None:
        """Take a snapshot."""
        self.inside(lambda: self.app.snapshots.take(source.id, name, ttl=60))

    def branch(self, source: str) -> Instance:
        """Return a branch of the neighbour's."""
        spec = build_branch_spec(self.app.defaults, ttl=NEVER)
        return self.inside(lambda: self.app.snapshots.branch(source, spec))

    def drop(self, instance: Instance) -> None:
        """Drop an instance."""
        self.inside(lambda: self.app.manager.drop([instance.id]))

    def forget_images(self) -> None:
        """Remove every image that we made, children before their parents."""

        def removed() -> bool:
            images = self.engine.our_images()
            if images:
                self.engine.docker("image", "rm", "--force", *images, check=False)
            return not images

        wait_until(removed, "no image of ours is left")

    def drop_images(self) -> None:
        """Drop every instance, and every prepared image."""
        self.inside(self.app.manager.drop_all)
        self.inside(lambda: self.app.images.prune(everything=True))

    def sweep(self, *, after: timedelta = LATER) -> tuple[Leftover, ...]:
        """Sweep as if so much time had gone by since."""
        policy = Policy(quota=self.app.quota, create_timeout=60.0, pull_timeout=900.0)
        sweeper = Sweeper(self.app.runtime, policy, clock=lambda: datetime.now(UTC) + after)
        return self.inside(sweeper.sweep)

    # --- what there is ------------------------------------------------------------------------------

    def volumes(self) -> list[str]:
        """Return the names of all volumes."""
        return self.engine.docker("volume", "ls", "--quiet").split()

    def images(self) -> list[str]:
        """Return the repositories of all images, `<none>` for one without a name."""
        return sorted(self.engine.docker("images", "--all", "--format", "{{.Repository}}").split())

    def listening(self) -> set[int]:
        """Return the ports of the range on which anybody listens."""
        found = set()
        for table in ("tcp", "tcp6"):
            lines = Path(f"/proc/{self._holder}/net/{table}").read_text().splitlines()[1:]
            sockets = (line.split()[1:4:2] for line in lines)
            found |= {int(local.rpartition(":")[2], 16) for local, state in sockets if state == _LISTENING}
        return {port for port in found if port in PORTS}

    # --- what may be left ---------------------------------------------------------------------------

    def wait_for_ends(self, *neighbours: Instance, seconds: float) -> None:
        """Wait until nobody runs but the neighbours, with no help of ours."""
        names = {f"mcp-postgres-{one.id}" for one in neighbours}

        def look() -> bool:
            return set(self.running()) == names

        wait_until(look, f"only {sorted(names)} are left", seconds)

    def running(self) -> list[str]:
        """Return the names of the containers that run or are paused."""
        states = ("running", "paused", "restarting")
        filters = [part for state in states for part in ("--filter", f"status={state}")]
        return self.engine.docker("ps", *filters, "--format", "{{.Names}}").split()

    def shorten_spares(self, seconds: float) -> None:
        """Let every spare end soon, as if its keeper had been silent for long; it changes nothing of a lease."""
        until = datetime.now(UTC) + timedelta(seconds=seconds)
        for container in self.app.runtime.list():
            with suppress(DevPostgresError):
                self.app.runtime.renew(container, until, deadline=Deadline(10))

    def state(self, instance: Instance) -> str:
        """Return what the engine says of an instance's container; nothing when there is none."""
        form = ("--format", "{{.State}}")
        name = f"name=^/mcp-postgres-{instance.id}$"
        return self.engine.docker("ps", "--all", "--filter", name, *form)

    def wait_thawed(self, instance: Instance, seconds: float) -> None:
        """Wait until nobody, dead or alive, asks an instance's server to stand still."""
        look = ("exec", instance.container_id, "sh", "-c", f"ls {STATE_DIRECTORY}")

        def goes_on() -> bool:
            return not {FROZEN, "freeze"} & {
                name.partition("-")[0] for name in self.engine.docker(*look).split()
            }

        # What a dead client has said last may still be on its way.
        time.sleep(0.3)
        wait_until(goes_on, f"{instance.id} goes on", seconds)

    def run(self, dsn: str, statements: str) -> None:
        """Run statements."""
        self.inside(lambda: _execute(dsn, statements))

    def check_untouched(self, neighbour: Instance, expected: str) -> None:
        """Judge that a neighbour still answers with what was written into it."""
        assert self.rows(dsn_of(neighbour), "SELECT text FROM mark") == [(expected,)]

    def mark(self, instance: Instance, text: str) -> None:
        """Write into an instance what it is to be known by."""
        statement = "CREATE TABLE IF NOT EXISTS mark (text text); DELETE FROM mark; INSERT INTO mark VALUES"
        self.run(dsn_of(instance), f"{statement} ('{text}')")

    def answers(self, instance: Instance) -> bool:
        """Tell whether an instance can be logged in to."""
        try:
            return bool(self.rows(dsn_of(instance), "SELECT 1"))
        except psycopg.OperationalError:
            return False

    def find_others(self, *neighbours: Instance) -> str:
        """Return what containers, volumes and ports there are but the neighbours'; an empty text for none."""
        names, ports = (
            {f"mcp-postgres-{one.id}" for one in neighbours},
            {one.endpoint.port for one in neighbours},
        )
        found = set(self.engine.containers()) ^ names, self.volumes(), self.listening() ^ ports
        return str(found) if any(found) else ""

    def find_images(self, *needed: str) -> str:
        """Return the images when they are others than those that are needed."""
        found = self.images()
        return str(found) if found != sorted(needed) else ""


def _execute(dsn: str, statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statements.encode())


def _enter_network(pid: int) -> None:
    """Move this thread, and all that it will start, to where a process's ports are."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        assert libc.setns(descriptor, _NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(descriptor)
