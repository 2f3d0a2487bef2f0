"""`Runtime` over a MemoryWorld."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import EngineFailed, EngineUnavailable, ImageNotFound, InstanceNotFound
from dev_postgres_mcp.model import Progress, Usage
from dev_postgres_mcp.runtimes.base import NO_LEASE, Capabilities, Engine, Role, State
from dev_postgres_mcp.runtimes.memory.store import MemoryStore
from dev_postgres_mcp.runtimes.memory.world import MEGABYTE
from dev_postgres_mcp.runtimes.ports import PortRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo, InitFile, Lease
    from dev_postgres_mcp.runtimes.base import (
        Container,
        Freeze,
        Image,
        Launch,
        PsqlCommand,
        Record,
        StoredImage,
    )
    from dev_postgres_mcp.runtimes.memory.world import Body, MemoryWorld


class MemoryRuntime:
    """`Runtime` over a MemoryWorld.  Remembers, as a real one does, what it has read beside its servers."""

    name = "memory"

    def __init__(self, world: MemoryWorld, ports: range) -> None:
        """Start containers in `world` on `ports`."""
        self._world = world
        self._store = MemoryStore(world)
        self._ports = PortRange(ports)
        self._known: dict[str, State] = {}

    @property
    def capabilities(self) -> Capabilities:
        """What the world can do at the moment."""
        return Capabilities(images=self._world.can_commit, contract=self._world.contract)

    def engine(self) -> Engine:
        """Describe the world."""
        self._world.check_up()
        return Engine(
            name="memory",
            address="memory:",
            context="built in",
            version="1",
            api="1",
            memory=self._world.memory,
            providers=self._world.providers,
        )

    def find_image(self, ref: str, *, deadline: Deadline | None = None) -> Image | None:
        """Return the local image, None when it is absent."""
        self._world.check_up(deadline)
        stored = self._world.stored.get(ref)
        return stored.image.image if stored is not None else self._world.base_image(ref)

    def pull_image(self, ref: str, *, progress: Callable[[Progress], None], deadline: Deadline) -> Image:
        """Fetch an absent image from the world's registry."""
        self._world.check_up()
        deadline.check(f"pulling {ref}")
        if ref in self._world.registry:
            progress(Progress(message=f"pulling {ref}: 1 of 1 layers", done=MEGABYTE, total=MEGABYTE))
            self._world.renew_image(ref)
        image = self._world.base_image(ref)
        if image is None:
            raise ImageNotFound(f"could not pull {ref}: no registry has it", hint="check the name and tag")
        return image

    def start(self, launch: Launch, *, deadline: Deadline) -> Container:
        """Add a container to the world under a port of its own."""
        while True:
            deadline.check("starting a container")
            taken = {
                container.endpoint.port
                for container in self.list()
                if container.running or container.role is Role.RESTORING
            }
            with self._ports.claim(taken=taken) as port:
                container = self._world.add(launch, port)
            if container is not None:
                return container

    def list(self, *, deadline: Deadline | None = None) -> tuple[Container, ...]:
        """Return everything in the world, oldest first; it does not tell of a server that has ended."""
        self._world.check_up(deadline)
        with self._world.lock:
            found = [body.container for body in self._world.bodies.values()]
        return tuple(sorted(found, key=lambda container: (container.created_at, container.id)))

    def inspect(self, container_id: str, *, deadline: Deadline | None = None) -> Container:
        """Return one container with its evidence."""
        body = self._world.body(container_id, deadline)
        if body.container.running and body.ended is not None:
            return replace(body.container, state="ended", evidence=body.ended)
        return body.container

    def remove(self, container_id: str, *, deadline: Deadline | None = None) -> bool:
        """Remove it; False when it was gone already."""
        self._world.check_up(deadline)
        with self._world.lock:
            return self._world.bodies.pop(container_id, None) is not None

    def logs(self, container_id: str, *, tail: int, deadline: Deadline | None = None) -> str:
        """Return the last lines of its log."""
        body = self._world.body(container_id, deadline)
        lines = ["database system is ready to accept connections"]
        if not body.serving:
            lines.append("server process was terminated")
        return "\n".join(lines[-tail:])

    def usage(self, container_id: str) -> Usage:
        """Return a plausible idle server's memory."""
        body = self._world.body(container_id)
        return Usage(memory=20 * MEGABYTE, memory_limit=body.container.limits.memory)

    def read_state(self, container: Container) -> State | None:
        """Return what lies beside the server; of one that cannot be asked what was read before."""
        body = self._world.body(container.container_id)
        known = self._known.get(container.container_id)
        if not body.container.running:
            return known
        if body.record.id != body.container.id:
            return None
        state = State(record=body.record, lease=body.lease or NO_LEASE, ended=body.ended)
        self._known[container.container_id] = state
        return state

    def write_state(
        self, container: Container, lease: Lease, *, record: Record | None = None, deadline: Deadline
    ) -> None:
        """Change the lease, and the record when one is given."""
        body = self._writable(container, deadline)
        with self._world.lock:
            body.lease = lease
            body.record = record or body.record

    def delivery(self, container: Container, lease: Lease, record: Record) -> None:
        """There is no shorter way: a write costs nothing here."""

    def renew(self, container: Container, until: datetime, *, deadline: Deadline) -> None:
        """Let a spare live until then; what has a lease already lives by that."""
        self._writable(container, deadline).spare_until = until

    def offer(self, container: Container, *, deadline: Deadline) -> Container:
        """Make a spare of what has warmed up; from then on it can be claimed."""
        self._world.check_up(deadline)
        with self._world.lock:
            offered = self._rename(container, Role.WARMING, Role.SPARE)
        if offered is None:
            raise InstanceNotFound(f"container {container.container_id[:12]} is gone")
        return offered

    def claim(self, container: Container, *, deadline: Deadline) -> Container | None:
        """Make a spare an instance; None when it is gone or somebody else was faster."""
        self._world.check_up(deadline)
        with self._world.lock:
            return self._rename(container, Role.SPARE, Role.INSTANCE)

    def find_prepared(self, base: Image, *, seed: str = "", deadline: Deadline | None = None) -> Image | None:
        """Return the prepared image of a base image and seed, None when there is none."""
        return self._store.find_prepared(base, seed=seed, deadline=deadline)

    def prepare(
        self,
        base: Image,
        *,
        seed: str = "",
        init: tuple[InitFile, ...] = (),
        progress: Callable[[Progress], None],
        deadline: Deadline,
    ) -> Image:
        """Make the prepared image of a base image anew, and take the name from an older one."""
        return self._store.prepare(base, seed=seed, init=init, progress=progress, deadline=deadline)

    def freeze(self, container: Container, freeze: Freeze, *, deadline: Deadline) -> StoredImage:
        """Keep the cluster as of its last checkpoint, without what only its server knows."""
        return self._store.freeze(container, freeze, deadline=deadline)

    def restore(self, container: Container, launch: Launch, *, deadline: Deadline) -> Container:
        """Put what `launch` says in the place of a container: same id, same port, with the lease of this moment."""
        self._world.body(container.container_id, deadline)
        launch = replace(launch, role=Role.RESTORING)
        restoring = self._world.add(launch, container.endpoint.port, running=False)
        with self._world.lock:
            old = self._world.bodies.pop(container.container_id, None)
            restored = None
            if restoring is not None and old is not None:
                self._world.bodies[restoring.container_id].lease = old.lease
                restored = self._rename(restoring, Role.RESTORING, Role.INSTANCE)
            elif restoring is not None:
                self._world.bodies.pop(restoring.container_id, None)
        if restored is None:
            raise InstanceNotFound(f"{container.id} was dropped while it was being restored")
        return restored

    def finish_restore(self, container: Container, *, deadline: Deadline) -> Container | None:
        """Bring up what a dead restorer left; None when somebody else did."""
        self._world.check_up(deadline)
        with self._world.lock:
            return self._rename(container, Role.RESTORING, Role.INSTANCE)

    def images(self, *, deadline: Deadline | None = None) -> tuple[StoredImage, ...]:
        """Return every image that was made here, oldest first."""
        return self._store.list(deadline=deadline)

    def remove_image(self, image_id: str, *, deadline: Deadline | None = None) -> bool:
        """Remove it; False when a container stands on it or it is gone."""
        return self._store.remove(image_id, deadline=deadline)

    def psql(self, container_id: str, conninfo: Conninfo) -> PsqlCommand:
        """There is none in memory."""
        raise EngineUnavailable(
            f"{container_id} lives in memory and has no psql for {conninfo.redacted_dsn()}",
            hint="use the docker runtime",
        )

    def remember(self, container: Container, state: State) -> None:
        """Note what was just written."""
        self._known[container.container_id] = state

    def forget_all_but(self, containers: Iterable[Container]) -> None:
        """Drop what was read of containers that are gone."""
        kept = {container.container_id for container in containers}
        self._known = {key: state for key, state in self._known.items() if key in kept}

    def close(self) -> None:
        """Nothing is held."""

    def _writable(self, container: Container, deadline: Deadline) -> Body:
        body = self._world.body(container.container_id, deadline)
        if not body.container.running:
            raise EngineFailed(f"{container.name} does not run", hint="it may be paused or stopping")
        return body

    def _rename(self, container: Container, old: Role, new: Role) -> Container | None:
        """Give a container of that role the next one, once; the caller holds the lock."""
        body = self._world.bodies.get(container.container_id)
        if body is None or body.container.role is not old:
            return None
        body.container = replace(body.container, role=new, state="running")
        return body.container
