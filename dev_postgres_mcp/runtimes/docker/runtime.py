"""Instances as Docker containers: the runtime protocol over the engine's API, and nothing that decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import docker.errors

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import (
    EngineUnsupported,
    ImageUnsuitable,
    InstanceNotFound,
    PortConflict,
    PortsExhausted,
)
from dev_postgres_mcp.model import Conninfo, Progress, Usage
from dev_postgres_mcp.parsing import hide_userinfo
from dev_postgres_mcp.runtimes.base import (
    Capabilities,
    Container,
    Engine,
    Image,
    Launch,
    PsqlCommand,
    Record,
)
from dev_postgres_mcp.runtimes.docker.container import (
    ID_LABEL,
    POSTGRES_PORT,
    Place,
    read_details,
    read_summary,
)
from dev_postgres_mcp.runtimes.docker.engine import CALL_TIMEOUT, EngineConnection
from dev_postgres_mcp.runtimes.docker.files import RECORD, unpack_one
from dev_postgres_mcp.runtimes.docker.images import find_image, pull_image
from dev_postgres_mcp.runtimes.docker.launching import Launcher
from dev_postgres_mcp.runtimes.docker.network import ensure_network
from dev_postgres_mcp.runtimes.ports import PortRange

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dev_postgres_mcp.runtimes.docker.contexts import Address, DockerEnvironment
    from dev_postgres_mcp.runtimes.docker.discovery import Api

_LOOPBACK = "127.0.0.1"
_POLL_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class DockerOptions:
    """What the settings say about this runtime.  `publish_host` is asked for with remote engines only."""

    environment: DockerEnvironment
    ports: range
    state_directory: Path
    publish_host: str = ""


class DockerRuntime:
    """`Runtime` over one Docker engine.  Thread-safe; keeps nothing but the connection."""

    name = "docker"
    capabilities = Capabilities(psql="docker", revive="docker start {}", unpause="docker unpause {}")

    def __init__(self, options: DockerOptions) -> None:
        """Touches no engine before the first call."""
        self._options = options
        self._connection = EngineConnection(options.environment)
        self._ports = PortRange(options.ports)
        self._launcher = Launcher(self._connection, self.remove)

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
        address = self._connection.discover(deadline).address
        bind_host, host = self._bind_host(address), _reachable_host(address)
        lock_file = self._options.state_directory / "network.lock"
        network_id = ensure_network(self._connection, lock_file, deadline=deadline)
        refused: set[int] = set()
        while True:
            taken = refused | {
                container.endpoint.port for container in self.list(deadline=deadline) if container.running
            }
            with self._ports.claim(taken=taken) as port:
                place = Place(bind_host=bind_host, host=host, port=port, network_id=network_id)
                try:
                    return self._launcher.launch(launch, place, deadline=deadline)
                except PortConflict as exc:
                    refused.add(port)
                    if len(refused) >= len(self._options.ports):
                        raise PortsExhausted("every port of the range is taken") from exc

    def list(self, *, deadline: Deadline | None = None) -> tuple[Container, ...]:
        """Return everything of ours, oldest first."""
        host = _reachable_host(self._connection.discover(deadline).address)
        with self._connection.calling("listing containers", deadline=deadline) as api:
            summaries = api.containers(all=True, filters={"label": ID_LABEL})
        ours = [container for summary in summaries if (container := read_summary(summary, host))]
        return tuple(sorted(ours, key=lambda container: (container.created_at, container.id)))

    def inspect(self, container_id: str, *, deadline: Deadline | None = None) -> Container:
        """Return one container with its evidence."""
        host = _reachable_host(self._connection.discover(deadline).address)
        with self._connection.calling(f"inspecting container {container_id[:12]}", deadline=deadline) as api:
            details = self._of(container_id, api.inspect_container)
        container = read_details(details, host)
        if container is None:
            raise InstanceNotFound(f"container {container_id[:12]} is not one of ours")
        return container

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

    def read_record(self, container_id: str) -> Record | None:
        """Return the record beside the server, None while there is none; raises InstanceNotFound."""
        with self._connection.calling(f"reading the record of container {container_id[:12]}") as api:
            try:
                chunks, _ = api.get_archive(container_id, RECORD)
                return Record.from_json(unpack_one(chunks))
            except docker.errors.NotFound as exc:
                if "could not find the file" in str(exc.explanation).lower():
                    return None
                raise InstanceNotFound(f"container {container_id[:12]} is gone") from exc

    def psql(self, container_id: str, conninfo: Conninfo) -> PsqlCommand:
        """Return how to run the container's own psql over TCP, through the `docker` command."""
        address = self._connection.discover().address
        variables = conninfo.environment() | {"PGHOST": _LOOPBACK, "PGPORT": str(POSTGRES_PORT)}
        del variables["DATABASE_URL"]
        names = tuple(part for name in variables for part in ("--env", name))
        engine = ("docker", *_cli_options(address), "exec", "--interactive")
        rest = (*names, container_id, "psql")
        return PsqlCommand(argv=(*engine, *rest), tty_argv=(*engine, "--tty", *rest), environment=variables)

    def close(self) -> None:
        """Let go of connections to the engine; the runtime may be used again."""
        self._connection.close()

    def _bind_host(self, address: Address) -> str:
        """Return where the engine publishes; raises EngineUnsupported for another machine without `publish_host`."""
        if _reachable_host(address) == _LOOPBACK:
            return _LOOPBACK
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


def _reachable_host(address: Address) -> str:
    """Return the host under which we reach what the engine publishes: a remote engine's loopback is its own."""
    if urlsplit(address.url).scheme not in {"tcp", "http", "https", "ssh"}:
        return _LOOPBACK
    host = urlsplit(address.url).hostname or _LOOPBACK
    return _LOOPBACK if host in {"localhost", "::1"} or host.startswith("127.") else host


def _wait_removed(api: Api, container_id: str, deadline: Deadline) -> None:
    while True:
        try:
            api.inspect_container(container_id)
        except docker.errors.NotFound:
            return
        deadline.check(f"waiting for the removal of container {container_id[:12]}")
        deadline.sleep(_POLL_SECONDS)


def _cli_options(address: Address) -> tuple[str, ...]:
    return ("--context", address.context) if address.context else ("--host", address.url)
