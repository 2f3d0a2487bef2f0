"""Instances as Docker containers: the runtime protocol over the engine's API, and nothing that decides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import docker.errors

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import (
    EngineFailed,
    EngineUnsupported,
    ImageUnsuitable,
    InstanceNotFound,
    InvalidInput,
    PortConflict,
    PortsExhausted,
)
from dev_postgres_mcp.model import Conninfo, Progress, Usage
from dev_postgres_mcp.parsing import hide_userinfo
from dev_postgres_mcp.runtimes.base import (
    Capabilities,
    Container,
    Delivery,
    Engine,
    Image,
    Launch,
    PsqlCommand,
    Record,
    Role,
)
from dev_postgres_mcp.runtimes.docker.beside import Beside
from dev_postgres_mcp.runtimes.docker.container import (
    CONTRACT,
    ID_LABEL,
    POSTGRES_PORT,
    Place,
    read_details,
    read_summary,
)
from dev_postgres_mcp.runtimes.docker.contexts import LOOPBACK
from dev_postgres_mcp.runtimes.docker.engine import CALL_TIMEOUT, EngineConnection
from dev_postgres_mcp.runtimes.docker.files import RECEIVE
from dev_postgres_mcp.runtimes.docker.freezing import Freezer
from dev_postgres_mcp.runtimes.docker.images import find_image, pull_image
from dev_postgres_mcp.runtimes.docker.launching import Launcher
from dev_postgres_mcp.runtimes.docker.network import ensure_network
from dev_postgres_mcp.runtimes.docker.restoring import Restorer
from dev_postgres_mcp.runtimes.docker.state import LEASE, SPARE, render_lines, render_spare, state_files
from dev_postgres_mcp.runtimes.docker.store import MAX_LAYERS, ImageStore
from dev_postgres_mcp.runtimes.ports import PortRange
from dev_postgres_mcp.runtimes.records import render_lease

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from pathlib import Path

    from dev_postgres_mcp.model import InitFile, Lease
    from dev_postgres_mcp.runtimes.base import Freeze, State, StoredImage
    from dev_postgres_mcp.runtimes.docker.contexts import Address, DockerEnvironment
    from dev_postgres_mcp.runtimes.docker.discovery import Api

_POLL_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class DockerOptions:
    """What the settings say about this runtime.  `publish_host` is asked for with remote engines only.

    An image of `max_layers` gets no further one on top: what is frozen then stands on the base image again.
    """

    environment: DockerEnvironment
    ports: range
    state_directory: Path
    publish_host: str = ""
    max_layers: int = MAX_LAYERS


class DockerRuntime:
    """`Runtime` over one Docker engine.  Thread-safe; what it remembers, on disk too, only saves calls."""

    name = "docker"
    capabilities = Capabilities(images=True, psql="docker", unpause="docker unpause {}", contract=CONTRACT)

    def __init__(self, options: DockerOptions) -> None:
        """Touches no engine before the first call."""
        self._options = options
        self._connection = EngineConnection(options.environment)
        self._ports = PortRange(options.ports)
        self._launcher = Launcher(self._connection, self.remove)
        self._beside = Beside(self._connection, self._launcher, options.state_directory)
        self._restorer = Restorer(self._connection, self._launcher, self.inspect, self.remove)
        self._store = ImageStore(
            self._connection,
            self._launcher,
            Freezer(self._beside),
            options.state_directory,
            max_layers=options.max_layers,
        )

    def reach(self) -> None:
        """Return when an engine answers; raises EngineUnavailable."""
        self._connection.discover()

    def engine(self) -> Engine:
        """Reach the engine and describe it."""
        found = self._connection.discover()
        with self._connection.calling("asking the engine about itself") as api:
            info, version = api.info(), api.version()
        return Engine(
            name=str(info.get("Name", "")),
            address=hide_userinfo(found.address.url),
            context=found.address.source,
            version=str(version.get("Version", "")),
            api=api.api_version,
            memory=int(info.get("MemTotal") or 0),
            cpus=int(info.get("NCPU") or 0),
            disk=str(info.get("Driver", "")),
            tried=found.tried,
        )

    def find_image(self, ref: str, *, deadline: Deadline | None = None) -> Image | None:
        """Return the local image, None when it is absent."""
        return find_image(self._connection, ref, deadline=deadline)

    def pull_image(self, ref: str, *, progress: Callable[[Progress], None], deadline: Deadline) -> Image:
        """Fetch an absent image; raises ImageUnavailable."""
        pull_image(self._connection, ref, progress=progress, deadline=deadline)
        image = self.find_image(ref)
        if image is None:
            raise ImageUnsuitable(f"{ref} was pulled, but the engine does not have it")
        return image

    def start(self, launch: Launch, *, deadline: Deadline) -> Container:
        """Create and start; on any failure nothing is left behind.

        The engine lets one container publish a port: whoever it refuses removes the container and tries
        another port.  A container that is only created holds no port yet, so the start decides.
        """
        place = self._place(deadline)
        refused: set[int] = set()
        while True:
            with self._ports.claim(taken=refused | self._taken_ports(deadline)) as port:
                try:
                    return self._launcher.launch(launch, replace(place, port=port), deadline=deadline)
                except PortConflict as exc:
                    refused.add(port)
                    if len(refused) >= len(self._options.ports):
                        raise PortsExhausted("every port of the range is taken") from exc

    def list(self, *, deadline: Deadline | None = None) -> tuple[Container, ...]:
        """Return everything of ours in every role, oldest first."""
        host = self._connection.discover(deadline).address.host
        with self._connection.calling("listing containers", deadline=deadline) as api:
            summaries = api.containers(all=True, filters={"label": ID_LABEL})
        ours = [container for summary in summaries if (container := read_summary(summary, host))]
        return tuple(sorted(ours, key=lambda container: (container.created_at, container.id)))

    def inspect(self, container_id: str, *, deadline: Deadline | None = None) -> Container:
        """Return one container with its evidence."""
        host = self._connection.discover(deadline).address.host
        with self._connection.calling(f"inspecting container {container_id[:12]}", deadline=deadline) as api:
            details = self._of(container_id, api.inspect_container)
        container = read_details(details, host)
        if container is None:
            raise InstanceNotFound(f"container {container_id[:12]} is not one of ours")
        ended = self._beside.read_end(container) if container.running else None
        return container if ended is None else replace(container, state="ended", evidence=ended)

    def remove(self, container_id: str, *, deadline: Deadline | None = None) -> bool:
        """Remove it with its volumes, running or not; False when it was gone already."""
        with self._connection.calling(f"removing container {container_id[:12]}", deadline=deadline) as api:
            try:
                api.remove_container(container_id, v=True, force=True)
            except docker.errors.NotFound:
                return False
            except docker.errors.APIError as exc:
                if "already in progress" not in str(exc.explanation):
                    raise
                # Somebody else removes it, and this one says so only when it is gone.
                _wait_removed(api, container_id, deadline or Deadline(CALL_TIMEOUT))
                return False
        return True

    def logs(self, container_id: str, *, tail: int, deadline: Deadline | None = None) -> str:
        """Return the last lines of its log."""
        with self._connection.calling(
            f"reading the log of container {container_id[:12]}", deadline=deadline
        ) as api:
            content: bytes = self._of(container_id, api.logs, tail=tail)
        return content.decode("utf-8", "replace").strip()

    def usage(self, container_id: str) -> Usage:
        """Return the memory it uses and may use; reclaimable page cache does not count, as in `docker stats`."""
        with self._connection.calling(f"measuring container {container_id[:12]}") as api:
            stats = self._of(container_id, api.stats, stream=False, one_shot=True)
        memory: dict[str, Any] = stats.get("memory_stats") or {}
        details: dict[str, int] = memory.get("stats") or {}
        cache = details.get("inactive_file", details.get("total_inactive_file", 0))
        return Usage(memory=max(0, memory.get("usage", 0) - cache), memory_limit=memory.get("limit", 0))

    def read_state(self, container: Container) -> State | None:
        """Return what lies beside the server, None while there is nothing; raises InstanceNotFound."""
        return self._beside.read(container)

    def write_state(
        self, container: Container, lease: Lease, *, record: Record | None = None, deadline: Deadline
    ) -> None:
        """Change the lease, and the record when one is given; whole and at once for every reader."""
        files = {LEASE: render_lease(lease)} if record is None else state_files(record, lease)
        self._beside.write(container, files, deadline=deadline)

    def delivery(self, container: Container, lease: Lease, record: Record) -> Delivery | None:
        """Return the same as a program inside the container, without a call to the engine."""
        lines = render_lines(state_files(record, lease)) if container.contract == CONTRACT else None
        return None if lines is None else Delivery(command=f"/bin/sh {RECEIVE}", lines=lines)

    def renew(self, container: Container, until: datetime, *, deadline: Deadline) -> None:
        """Let a spare live until then; what has been claimed meanwhile is not touched by that."""
        self._beside.write(container, {SPARE: render_spare(until)}, deadline=deadline)

    def offer(self, container: Container, *, deadline: Deadline) -> Container:
        """Make a spare of what has warmed up; from then on it can be claimed."""
        with self._connection.calling(f"offering {container.name}", deadline=deadline) as api:
            api.rename(container.name, Role.SPARE.name_for(container.id))
        return replace(container, role=Role.SPARE)

    def claim(self, container: Container, *, deadline: Deadline) -> Container | None:
        """Make a spare an instance; None when it is gone or somebody else was faster.

        The engine renames *by name* atomically, and to the one name that follows from the spare's: exactly one
        of several claimants wins.  A lost reply counts as lost; the spare's short lease ends it.  One on a port
        that is not ours to publish on is left to others.
        """
        if container.endpoint.port not in self._options.ports:
            return None
        try:
            with self._connection.calling(f"claiming {container.name}", deadline=deadline) as api:
                api.rename(container.name, Role.INSTANCE.name_for(container.id))
        except (InstanceNotFound, EngineFailed, InvalidInput):
            return None
        return replace(container, role=Role.INSTANCE)

    def find_prepared(self, base: Image, *, seed: str = "", deadline: Deadline | None = None) -> Image | None:
        """Return the prepared image of a base image and seed, None when there is none."""
        return self._store.find_prepared(base, seed, deadline=deadline)

    def prepare(
        self,
        base: Image,
        *,
        seed: str = "",
        init: tuple[InitFile, ...] = (),
        progress: Callable[[Progress], None],
        deadline: Deadline,
    ) -> Image:
        """Make the prepared image of a base image anew; a half-made one is never found.  Raises InitFailed."""
        return self._store.prepare(base, seed, init, progress=progress, deadline=deadline)

    def freeze(self, container: Container, freeze: Freeze, *, deadline: Deadline) -> StoredImage:
        """Keep the cluster of a running container as an image, while its server stands still."""
        return self._store.freeze(container, freeze, deadline=deadline)

    def restore(self, container: Container, launch: Launch, *, deadline: Deadline) -> Container:
        """Put what `launch` says in the place of a container: same id, same port."""
        place = replace(self._place(deadline), port=container.endpoint.port)
        launch = replace(launch, role=Role.RESTORING)
        return self._restorer.restore(container, launch, place, deadline=deadline)

    def finish_restore(self, container: Container, *, deadline: Deadline) -> Container | None:
        """Bring up what a dead restorer left; None when somebody else did."""
        return self._restorer.finish(container, deadline=deadline)

    def images(self, *, deadline: Deadline | None = None) -> tuple[StoredImage, ...]:
        """Return every image that we made, oldest first."""
        return self._store.list(deadline=deadline)

    def remove_image(self, image_id: str, *, deadline: Deadline | None = None) -> bool:
        """Remove it; False when something still stands on it or it is gone."""
        return self._store.remove(image_id, deadline=deadline)

    def remember(self, container: Container, state: State) -> None:
        """Note what was just written, so that this client need not read it."""
        self._beside.remember(container, state)

    def forget_all_but(self, containers: Iterable[Container]) -> None:
        """Drop what this client remembers of containers that are gone."""
        self._beside.forget_all_but(containers)

    def psql(self, container_id: str, conninfo: Conninfo) -> PsqlCommand:
        """Return how to run the container's own psql over TCP, through the `docker` command."""
        address = self._connection.discover().address
        variables = conninfo.environment() | {"PGHOST": LOOPBACK, "PGPORT": str(POSTGRES_PORT)}
        del variables["DATABASE_URL"]
        names = tuple(part for name in variables for part in ("--env", name))
        engine = ("docker", *address.cli_options, "exec", "--interactive")
        rest = (*names, container_id, "psql")
        return PsqlCommand(argv=(*engine, *rest), tty_argv=(*engine, "--tty", *rest), environment=variables)

    def close(self) -> None:
        """Let go of connections to the engine; the runtime may be used again."""
        self._connection.close()

    def _place(self, deadline: Deadline) -> Place:
        """Return where containers go, the port left open."""
        address = self._connection.discover(deadline).address
        bind_host, host = self._bind_host(address), address.host
        lock_file = self._options.state_directory / "network.lock"
        network_id = ensure_network(self._connection, lock_file, deadline=deadline)
        return Place(bind_host=bind_host, host=host, port=0, network_id=network_id)

    def _taken_ports(self, deadline: Deadline) -> set[int]:
        """Return the ports that are published, or will be when a restore goes on."""
        return {
            container.endpoint.port
            for container in self.list(deadline=deadline)
            if container.running or container.role is Role.RESTORING
        }

    def _bind_host(self, address: Address) -> str:
        """Return where the engine publishes; raises EngineUnsupported for another machine without `publish_host`."""
        if address.host == LOOPBACK:
            return LOOPBACK
        if not self._options.publish_host:
            raise EngineUnsupported(
                f"{address} is another machine, whose 127.0.0.1 cannot be reached from here",
                hint="set `publish_host` to an address of that machine on which its instances may listen",
            )
        return self._options.publish_host

    @staticmethod
    def _of(container_id: str, call: Callable[..., Any], **arguments: object) -> Any:  # noqa: ANN401
        try:
            return call(container_id, **arguments)
        except docker.errors.NotFound as exc:
            raise InstanceNotFound(f"container {container_id[:12]} is gone") from exc


def _wait_removed(api: Api, container_id: str, deadline: Deadline) -> None:
    while True:
        try:
            api.inspect_container(container_id)
        except docker.errors.NotFound:
            return
        deadline.check(f"waiting for the removal of container {container_id[:12]}")
        deadline.sleep(_POLL_SECONDS)
