"""An honest in-memory world: the runtime protocol and PostgreSQL's side of a login, without either.

It keeps every promise that tests/contract asks of a real runtime - one creator a port, nothing left of a
failed start, records readable by others - and lets tests bring about what is hard to bring about for real:
a slow start, a dead server, an engine that is down.  Several runtimes may share one world, as several
processes share one engine.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import (
    EngineDown,
    EngineUnavailable,
    ImageNotFound,
    InitFailed,
    InstanceNotFound,
    LoginFailed,
)
from dev_postgres_mcp.model import Endpoint, Evidence, Progress, ServerFacts, Usage
from dev_postgres_mcp.runtimes.base import Capabilities, Container, Engine, Image
from dev_postgres_mcp.runtimes.ports import PortRange

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo
    from dev_postgres_mcp.runtimes.base import Launch, PsqlCommand, Record

_HOST = "127.0.0.1"
_MEGABYTE = 1024**2


@dataclass
class Body:
    """One container of the world: what the runtime shows of it, and what only PostgreSQL would know."""

    container: Container
    record: Record
    databases: set[str]
    username: str
    logins_until_ready: int
    extensions: list[str] = field(default_factory=list)


class MemoryWorld:
    """The engine of this double, and the servers in it.  Thread-safe."""

    def __init__(self, *, images: Sequence[str] = (), registry: Sequence[str] = ()) -> None:
        """Have `images` locally and `registry` to pull from."""
        self.images = set(images)
        self.registry = set(registry)
        self.bodies: dict[str, Body] = {}
        self.down = False
        self.logins_until_ready = 1
        self.dies_at_start = False
        self.extensions = {"hstore", "pg_trgm"}
        self.lock = threading.Lock()

    def body(self, container_id: str, deadline: Deadline | None = None) -> Body:
        """Return one container; raises InstanceNotFound."""
        self.check_up(deadline)
        body = self.bodies.get(container_id)
        if body is None:
            raise InstanceNotFound(f"container {container_id} is gone")
        return body

    def check_up(self, deadline: Deadline | None = None) -> None:
        """Raise EngineDown when the engine is down, and what a deadline that has passed raises."""
        if deadline is not None:
            deadline.check("asking the in-memory engine")
        if self.down:
            raise EngineDown("the in-memory engine is down", hint="set `down` to False")

    def kill(self, container_id: str, *, exit_code: int = 137, oom_killed: bool = False) -> None:
        """Let a server die inside its container."""
        body = self.body(container_id)
        evidence = Evidence(exit_code=exit_code, oom_killed=oom_killed, finished_at=datetime.now(UTC))
        body.container = replace(body.container, state="exited", evidence=evidence)


class MemoryRuntime:
    """`Runtime` over a MemoryWorld."""

    name = "memory"
    capabilities = Capabilities()

    def __init__(self, world: MemoryWorld, ports: range) -> None:
        """Start containers in `world` on `ports`."""
        self._world = world
        self._ports = PortRange(ports)

    def engine(self) -> Engine:
        """Describe the world."""
        self._world.check_up()
        return Engine(name="memory", address="memory:", context="built in", version="1", api="1")

    def find_image(self, ref: str, *, deadline: Deadline | None = None) -> Image | None:
        """Return the local image, None when it is absent."""
        self._world.check_up(deadline)
        return _image(ref) if ref in self._world.images else None

    def pull_image(self, ref: str, *, progress: Callable[[Progress], None], deadline: Deadline) -> Image:
        """Fetch an absent image from the world's registry."""
        self._world.check_up()
        deadline.check(f"pulling {ref}")
        if ref not in self._world.registry:
            raise ImageNotFound(f"could not pull {ref}: no registry has it", hint="check the name and tag")
        progress(Progress(message=f"pulling {ref}: 1 of 1 layers", done=_MEGABYTE, total=_MEGABYTE))
        self._world.images.add(ref)
        return _image(ref)

    def start(self, launch: Launch, *, deadline: Deadline) -> Container:
        """Add a container to the world under a port of its own."""
        while True:
            deadline.check("starting a container")
            taken = {container.endpoint.port for container in self.list() if container.running}
            with self._ports.claim(taken=taken) as port:
                container = self._start_at(launch, port)
            if container is not None:
                return container

    def list(self, *, deadline: Deadline | None = None) -> tuple[Container, ...]:
        """Return everything in the world, oldest first."""
        self._world.check_up(deadline)
        with self._world.lock:
            found = [replace(body.container, evidence=None) for body in self._world.bodies.values()]
        return tuple(sorted(found, key=lambda container: (container.created_at, container.id)))

    def inspect(self, container_id: str, *, deadline: Deadline | None = None) -> Container:
        """Return one container with its evidence."""
        return self._world.body(container_id, deadline).container

    def remove(self, container_id: str, *, deadline: Deadline | None = None) -> bool:
        """Remove it; False when it was gone already."""
        self._world.check_up(deadline)
        with self._world.lock:
            return self._world.bodies.pop(container_id, None) is not None

    def logs(self, container_id: str, *, tail: int, deadline: Deadline | None = None) -> str:
        """Return the last lines of its log."""
        body = self._world.body(container_id, deadline)
        lines = ["database system is ready to accept connections"]
        if body.container.dead:
            lines.append("server process was terminated")
        return "\n".join(lines[-tail:])

    def usage(self, container_id: str) -> Usage:
        """Return a plausible idle server's memory."""
        body = self._world.body(container_id)
        return Usage(memory=20 * _MEGABYTE, memory_limit=body.container.limits.memory)

    def read_record(self, container_id: str) -> Record | None:
        """Return the record beside the server."""
        return self._world.body(container_id).record

    def psql(self, container_id: str, conninfo: Conninfo) -> PsqlCommand:
        """There is none in memory."""
        raise EngineUnavailable(
            f"{container_id} lives in memory and has no psql for {conninfo.redacted_dsn()}",
            hint="use the docker runtime",
        )

    def close(self) -> None:
        """Nothing is held."""

    def _start_at(self, launch: Launch, port: int) -> Container | None:
        """Return the started container, None when another creator was given the port first."""
        world, now = self._world, datetime.now(UTC)
        container = Container(
            id=launch.record.id,
            container_id=hashlib.sha256(launch.record.id.encode()).hexdigest(),
            endpoint=Endpoint(host=_HOST, port=port),
            state="running",
            created_at=now,
            ready_by=now + timedelta(seconds=launch.patience),
            version=launch.image.version,
            image=launch.image.ref,
            limits=launch.limits,
            owner=launch.owner,
            labels=dict(launch.labels),
        )
        body = Body(
            container=container,
            record=launch.record,
            databases={"postgres", launch.bootstrap.database},
            username=launch.bootstrap.username,
            logins_until_ready=world.logins_until_ready,
        )
        with world.lock:
            running = [other.container for other in world.bodies.values() if other.container.running]
            if any(other.endpoint.port == port for other in running):
                return None
            world.bodies[container.container_id] = body
        if world.dies_at_start:
            world.kill(container.container_id, exit_code=1)
        return container


class MemorySql:
    """`Sql` for the servers of a MemoryWorld: logins are judged as PostgreSQL would."""

    def __init__(self, world: MemoryWorld) -> None:
        """Answer for the servers of `world`."""
        self._world = world

    def login(self, conninfo: Conninfo) -> float:
        """Check port, user, password and database."""
        self._server(conninfo)
        return 0.0

    def facts(self, conninfo: Conninfo) -> ServerFacts:
        """Return what such a server would say."""
        body = self._server(conninfo)
        uptime = (datetime.now(UTC) - body.container.created_at).total_seconds()
        return ServerFacts(
            version=f"{body.container.version}.0",
            uptime=uptime,
            connections=1,
            max_connections=200,
            database_size=7 * _MEGABYTE,
            latency=0.0,
        )

    def create_extensions(self, conninfo: Conninfo, names: Sequence[str], *, deadline: Deadline) -> None:
        """Note the extensions; raises InitFailed for unknown ones."""
        deadline.check("creating extensions")
        body = self._server(conninfo)
        for name in names:
            if name not in self._world.extensions:
                raise InitFailed(
                    f"extension {name!r}: is not available", hint="see which extensions there are"
                )
            body.extensions.append(name)

    def rename(self, conninfo: Conninfo, *, database: str, username: str, deadline: Deadline) -> None:
        """Rename the database and the superuser."""
        deadline.check("renaming")
        body = self._server(conninfo)
        body.databases = (body.databases - {conninfo.database}) | {database}
        body.username = username

    def _server(self, conninfo: Conninfo) -> Body:
        with self._world.lock:
            for body in self._world.bodies.values():
                if body.container.running and body.container.endpoint == conninfo.endpoint:
                    return _admit(body, conninfo)
        raise LoginFailed(f"connection to port {conninfo.endpoint.port} refused")


def _admit(body: Body, conninfo: Conninfo) -> Body:
    if body.logins_until_ready > 0:
        body.logins_until_ready -= 1
        raise LoginFailed("the database system is starting up")
    if (conninfo.username, conninfo.password) != (body.username, body.record.password):
        raise LoginFailed(f"password authentication failed for user {conninfo.username!r}")
    if conninfo.database not in body.databases:
        raise LoginFailed(f"database {conninfo.database!r} does not exist")
    return body


def _image(ref: str) -> Image:
    version = ref.partition(":")[2].partition("-")[0]
    return Image(ref=ref, id=f"sha256:{hashlib.sha256(ref.encode()).hexdigest()}", version=version)
