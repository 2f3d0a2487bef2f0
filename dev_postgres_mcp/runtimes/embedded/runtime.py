"""Instances as local server processes: the runtime protocol over a directory, and nothing that decides."""

from __future__ import annotations

import json
import os
import platform
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import (
    EngineFailed,
    EngineUnavailable,
    EngineUnsupported,
    ImageNotFound,
    InstanceNotFound,
    PortConflict,
    PortsExhausted,
    ProviderNotFound,
)
from dev_postgres_mcp.model import Progress, Usage
from dev_postgres_mcp.runtimes.base import (
    Capabilities,
    Engine,
    Image,
    ProviderFacts,
    PsqlCommand,
    Role,
    State,
)
from dev_postgres_mcp.runtimes.embedded import cgroups, copying, processes
from dev_postgres_mcp.runtimes.embedded.container import CONTRACT, read_container, read_end, role_file
from dev_postgres_mcp.runtimes.embedded.failures import translating
from dev_postgres_mcp.runtimes.embedded.files import (
    EXIT,
    SERVER,
    SPARE,
    STATE,
    STATE_LOCK,
    locked,
    read_bytes,
    read_json,
    read_plan,
    read_process,
    write_whole,
)
from dev_postgres_mcp.runtimes.embedded.launching import ISOLATED, Launcher, Source, read_log
from dev_postgres_mcp.runtimes.embedded.leftovers import put_abandoned_away
from dev_postgres_mcp.runtimes.embedded.providers import (
    Provider,
    Search,
    choose_provider,
    facts_of,
    find_provider,
    find_providers,
)
from dev_postgres_mcp.runtimes.embedded.restoring import Restorer
from dev_postgres_mcp.runtimes.embedded.storage import Ground, Storage
from dev_postgres_mcp.runtimes.embedded.store import ImageStore
from dev_postgres_mcp.runtimes.ports import PortRange
from dev_postgres_mcp.runtimes.records import parse_exit, render_lease, state_from_json, state_to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo, InitFile, Lease
    from dev_postgres_mcp.runtimes.base import Container, Freeze, Launch, Record, StoredImage

REPOSITORY = "postgres"
"""The only image that there is here, by the name that it has elsewhere."""
SUPERUSER = "postgres"


@dataclass(frozen=True, kw_only=True)
class EmbeddedOptions:
    """What the settings say about this runtime.  `programs`: where PostgreSQL is, when it is not to be looked for.

    `because` says why it is this runtime, when nobody has named it.
    """

    directory: Path
    ports: range
    programs: Path | None = None
    storage: Storage = Storage.AUTO
    interpreter: Sequence[str] = ISOLATED
    because: str = ""


class EmbeddedRuntime:
    """`Runtime` over one directory of this machine.  Thread-safe; remembers nothing but the providers."""

    name = "embedded"

    def __init__(self, options: EmbeddedOptions) -> None:
        """Touches nothing before the first call."""
        self._options = options
        self._ground = Ground(root=options.directory, storage=options.storage)
        self._launcher = Launcher(self._ground, options.interpreter)
        self._store = ImageStore(self._ground, self._launcher)
        self._ports = PortRange(options.ports)
        self._restorer = Restorer(self._ground, self._launcher)

    @property
    def capabilities(self) -> Capabilities:
        """What it can do beyond the protocol."""
        return Capabilities(
            images=True, psql=self._psql, contract=CONTRACT, default_version=self._default_version
        )

    def engine(self) -> Engine:
        """Describe this machine and the programs that a create without a version would use."""
        search, provider = self._search, choose_provider(self._search, None)
        because = (self._options.because,) if self._options.because else ()
        self._prepare()
        return Engine(
            name=platform.node(),
            address=str(self._ground.root),
            context=f"{provider.name} in {provider.bin_directory}",
            version=provider.version,
            api=CONTRACT,
            memory=_total_memory(),
            cpus=os.cpu_count() or 0,
            disk="copies share blocks" if copying.can_clone(str(self._ground.images)) else "",
            tried=(*because, *search.tried),
            providers=self._providers,
        )

    def find_image(self, ref: str, *, deadline: Deadline | None = None) -> Image | None:
        """Return the image, None when nobody has its server programs."""
        _check(deadline, f"looking for {ref}")
        if ref.startswith("sha256:"):
            stored = self._store.find(ref)
            return stored.image if stored is not None else None
        major = _major_of(ref)
        if major is None:
            return None
        try:
            provider = find_provider(self._options.programs, major)
        except ProviderNotFound:
            return None
        return _base_image(ref, provider)

    def pull_image(self, ref: str, *, progress: Callable[[Progress], None], deadline: Deadline) -> Image:
        """Nothing is pulled here; raises ImageNotFound, or ProviderNotFound with what was tried."""
        progress(Progress(message=f"looking for the server programs of {ref}"))
        deadline.check(f"looking for {ref}")
        major = _major_of(ref)
        if major is None:
            raise ImageNotFound(
                f"the embedded runtime has no images but {REPOSITORY}:<major version>, and none like {ref}",
                hint="leave the image out, or use the docker runtime (`--runtime docker`) for it",
            )
        try:
            return _base_image(ref, find_provider(self._options.programs, major))
        except ProviderNotFound as exc:
            raise ProviderNotFound(
                "; and ".join(filter(None, (exc.message, self._options.because))), hint=exc.hint
            ) from exc

    def start(self, launch: Launch, *, deadline: Deadline) -> Container:
        """Start a server of its own; on any failure nothing is left behind."""
        deadline.check(f"starting {launch.image.ref}")
        self._prepare()
        source = self._source(launch.image, launch.bootstrap.username)
        refused: set[int] = set()
        while True:
            with self._ports.claim(taken=refused | self._taken_ports()) as port:
                try:
                    directory = self._launcher.launch(launch, source, port, deadline=deadline)
                except PortConflict as exc:
                    refused.add(port)
                    if len(refused) >= len(self._options.ports):
                        raise PortsExhausted("every port of the range is taken") from exc
                else:
                    return self._read(directory)

    def list(self, *, deadline: Deadline | None = None) -> tuple[Container, ...]:
        """Return everything of ours in every role, oldest first."""
        _check(deadline, "listing instances")
        if not self._ground.instances.is_dir():
            return ()
        found = (
            read_container(directory)
            for directory in self._ground.instances.iterdir()
            if not directory.name.startswith(".") and not directory.name.endswith(".gone")
        )
        ours = [container for container in found if container is not None]
        return tuple(sorted(ours, key=lambda container: (container.created_at, container.id)))

    def inspect(self, container_id: str, *, deadline: Deadline | None = None) -> Container:
        """Return one container with its evidence."""
        _check(deadline, f"inspecting {container_id[:12]}")
        directory = self._directory(container_id)
        return read_end(directory, self._read(directory))

    def remove(self, container_id: str, *, deadline: Deadline | None = None) -> bool:
        """Remove it with its data, running or not; False when it was gone already."""
        return self._launcher.remove(self._directory(container_id), deadline=deadline)

    def logs(self, container_id: str, *, tail: int, deadline: Deadline | None = None) -> str:
        """Return the last lines of its log."""
        _check(deadline, f"reading the log of {container_id[:12]}")
        directory = self._directory(container_id)
        self._read(directory)
        return read_log(directory, tail)

    def usage(self, container_id: str) -> Usage:
        """Return the memory that its processes use and may use."""
        directory = self._directory(container_id)
        container = self._read(directory)
        try:
            plan = read_plan(str(directory))
        except OSError as exc:
            raise _gone(container_id) from exc
        server = read_process(str(directory / SERVER))
        memory = cgroups.used_memory(plan.cgroups)
        if not memory and server is not None:
            memory = processes.memory_of(processes.tree(server[0]))
        return Usage(memory=memory, memory_limit=container.limits.memory)

    def read_state(self, container: Container) -> State | None:
        """Return what lies beside the server, None while there is nothing; raises InstanceNotFound."""
        directory = self._directory(container.container_id)
        self._read(directory)
        try:
            state = state_from_json(read_json(str(directory / STATE)))
        except FileNotFoundError as exc:
            raise _gone(container.container_id) from exc
        except (OSError, ValueError):
            return None
        if state is None or state.record.id != container.id:
            return None
        with suppress(OSError):
            return replace(state, ended=parse_exit(read_bytes(str(directory / EXIT))))
        return state

    def write_state(
        self, container: Container, lease: Lease, *, record: Record | None = None, deadline: Deadline
    ) -> None:
        """Change the lease, and the record when one is given; whole and at once for every reader."""
        directory = self._writable(container, deadline)
        with self._writing(container), locked(str(directory / STATE_LOCK)):
            fields = read_json(str(directory / STATE))
            if record is not None:
                fields = dict(state_to_json(State(record=record, lease=lease)))
            fields["lease"] = render_lease(lease).decode()
            write_whole(str(directory / STATE), json.dumps(fields).encode())
        self._launcher.wake(directory)

    def delivery(self, container: Container, lease: Lease, record: Record) -> None:
        """There is no shorter way: a write is a file beside the server."""

    def renew(self, container: Container, until: datetime, *, deadline: Deadline) -> None:
        """Let a spare live until then; what has been claimed meanwhile is not touched by that."""
        directory = self._writable(container, deadline)
        with self._writing(container):
            write_whole(str(directory / SPARE), f"{ceil(until.timestamp())}\n".encode())
        self._launcher.wake(directory)

    def offer(self, container: Container, *, deadline: Deadline) -> Container:
        """Make a spare of what has warmed up; from then on it can be claimed."""
        deadline.check(f"offering {container.name}")
        if not self._take_role(container, Role.WARMING, Role.SPARE):
            raise _gone(container.container_id)
        return replace(container, role=Role.SPARE)

    def claim(self, container: Container, *, deadline: Deadline) -> Container | None:
        """Make a spare an instance; None when it is gone or somebody else was faster.

        Its role is the name of a file, which one of several claimants can rename.
        """
        deadline.check(f"claiming {container.name}")
        if container.endpoint.port not in self._options.ports:
            return None
        claimed = self._take_role(container, Role.SPARE, Role.INSTANCE)
        return replace(container, role=Role.INSTANCE) if claimed else None

    def find_prepared(self, base: Image, *, seed: str = "", deadline: Deadline | None = None) -> Image | None:
        """Return the prepared image of a base image and seed, None when there is none."""
        _check(deadline, f"looking for a prepared {base.ref}")
        return self._store.find_prepared(base, seed)

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
        provider = self._source(base).provider
        self._prepare()
        with translating(f"preparing {base.ref}"):
            return self._store.prepare(base, seed, init, provider, progress=progress, deadline=deadline)

    def freeze(self, container: Container, freeze: Freeze, *, deadline: Deadline) -> StoredImage:
        """Keep the cluster of a running container as an image, while its server stands still."""
        directory = self._writable(container, deadline)
        with self._writing(container):
            return self._store.freeze(container, directory, freeze, deadline=deadline)

    def restore(self, container: Container, launch: Launch, *, deadline: Deadline) -> Container:
        """Put what `launch` says in the place of a container: same id, same port."""
        directory = self._directory(container.container_id)
        self._read(directory)
        restored = self._restorer.restore(
            directory, launch, self._source(launch.image), container.endpoint.port, deadline=deadline
        )
        return self._read(restored)

    def finish_restore(self, container: Container, *, deadline: Deadline) -> Container | None:
        """Bring up what a dead restorer left; None when somebody else did."""
        directory = self._directory(container.container_id)
        return self._read(directory) if self._restorer.finish(directory, deadline=deadline) else None

    def images(self, *, deadline: Deadline | None = None) -> tuple[StoredImage, ...]:
        """Return every image that we made, oldest first."""
        _check(deadline, "listing images")
        return self._store.list()

    def remove_image(self, image_id: str, *, deadline: Deadline | None = None) -> bool:
        """Remove it; False when an instance was made from it or it is gone.

        A copy needs its original no more; but that there is one is what people go by.
        """
        _check(deadline, "removing an image")
        if any(container.image_id == image_id for container in self.list()):
            return False
        return self._store.remove(image_id)

    def psql(self, container_id: str, conninfo: Conninfo) -> PsqlCommand:
        """Return how to run psql over TCP; raises EngineUnavailable when this machine has none."""
        self._read(self._directory(container_id))
        if not self._psql:
            raise EngineUnavailable(
                "this machine has no psql: neither the server's programs nor PATH hold one",
                hint="install PostgreSQL's client programs, or connect with any other client",
            )
        variables = conninfo.environment()
        del variables["DATABASE_URL"]
        return PsqlCommand(argv=(self._psql,), tty_argv=(self._psql,), environment=variables)

    def remember(self, container: Container, state: State) -> None:
        """Nothing is remembered: a read is as quick."""

    def forget_all_but(self, containers: Iterable[Container]) -> None:  # noqa: ARG002 - nothing is remembered
        """Put away what a dead process was laying out or removing."""
        with translating("putting away what was left half-made"):
            if self._ground.instances.is_dir():
                put_abandoned_away(str(self._ground.instances))
            self._store.finish_removals()

    def close(self) -> None:
        """Nothing is held."""

    @cached_property
    def _search(self) -> Search:
        return find_providers(self._options.programs)

    @cached_property
    def _providers(self) -> tuple[ProviderFacts, ...]:
        """Who asks for the engine's memory asks often."""
        return tuple(map(facts_of, self._search.providers))

    @cached_property
    def _default_version(self) -> str:
        with suppress(ProviderNotFound):
            return find_provider(self._options.programs, None).major
        return ""

    @cached_property
    def _psql(self) -> str:
        with suppress(ProviderNotFound):
            program = find_provider(self._options.programs, None).program("psql")
            if program.is_file():
                return str(program)
        return shutil.which("psql") or ""

    def _prepare(self) -> None:
        if os.name != "posix":
            raise EngineUnsupported(
                "the embedded runtime needs Linux or macOS", hint="use the docker runtime: `--runtime docker`"
            )
        with translating(f"making {self._ground.root}"):
            self._ground.prepare()

    def _source(self, image: Image, username: str = "") -> Source:
        """Return what a cluster of this image is made from.

        Where a new one is to be made, with a superuser of the usual name, a copy of a prepared one is the same.
        """
        stored = self._store.find(image.id) if image.prepared else None
        if image.prepared and stored is None:
            raise EngineFailed(f"no such image: {image.id}", hint="somebody has removed it")
        provider = find_provider(self._options.programs, image.version or _major_of(image.ref))
        if stored is None:
            twin = self._store.find_prepared(image, "") if username == SUPERUSER else None
            data = self._store.data_of(twin.id) if twin is not None else None
            return Source(provider=provider, data=data)
        return Source(provider=provider, kind=stored.kind, data=self._store.data_of(image.id))

    def _taken_ports(self) -> set[int]:
        """Return the ports of whoever has a supervisor, or will get one when a restore goes on."""
        return {
            container.endpoint.port
            for container in self.list()
            if not container.dead or container.role is Role.RESTORING
        }

    def _directory(self, container_id: str) -> Path:
        if not container_id.isalnum():
            raise _gone(container_id)
        return self._ground.instances / container_id

    @staticmethod
    def _read(directory: Path) -> Container:
        container = read_container(directory)
        if container is None:
            raise _gone(directory.name)
        return container

    def _writable(self, container: Container, deadline: Deadline) -> Path:
        deadline.check(f"writing beside {container.name}")
        directory = self._directory(container.container_id)
        if not self._read(directory).running:
            raise EngineFailed(f"{container.name} does not run", hint="it may be paused or stopping")
        return directory

    @contextmanager
    def _writing(self, container: Container) -> Iterator[None]:
        """Raise InstanceNotFound when it is gone meanwhile, and else what `translating` raises."""
        try:
            with translating(f"writing beside {container.name}"):
                yield
        except EngineFailed as exc:
            if isinstance(exc.__cause__, FileNotFoundError):
                raise _gone(container.container_id) from exc
            raise

    def _take_role(self, container: Container, old: Role, new: Role) -> bool:
        directory = self._directory(container.container_id)
        try:
            (directory / role_file(old)).rename(directory / role_file(new))
        except FileNotFoundError:
            return False
        return True


def _base_image(ref: str, provider: Provider) -> Image:
    # As long as an engine's: nobody asks what stands behind it.
    image_id = f"sha256:{provider.key:0>64}"
    return Image(ref=ref, id=image_id, base_id=image_id, version=provider.major)


def _major_of(ref: str) -> str | None:
    """Return the major version that an image reference asks for, None when it asks for another image."""
    repository, _, tag = ref.partition(":")
    return tag if repository == REPOSITORY and tag.isdigit() else None


def _check(deadline: Deadline | None, doing: str) -> None:
    if deadline is not None:
        deadline.check(doing)


def _gone(container_id: str) -> InstanceNotFound:
    return InstanceNotFound(f"container {container_id[:12]} is gone")


def _total_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0
