"""The engine of the in-memory double: its containers, its images, and the clusters in both."""

from __future__ import annotations

import hashlib
import secrets
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import EngineDown, EngineFailed, InstanceNotFound
from dev_postgres_mcp.model import Endpoint, Evidence
from dev_postgres_mcp.runtimes.base import Container, Image, Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Lease, Secret
    from dev_postgres_mcp.runtimes.base import Launch, ProviderFacts, Record, StoredImage

HOST = "127.0.0.1"
MEGABYTE = 1024**2
SUPERUSER = "postgres"
_USER = "999:999"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What PostgreSQL keeps: databases with the extensions and scripts that went into each, and the superuser.

    Without a password nobody can log in.
    """

    databases: Mapping[str, tuple[str, ...]]
    username: str
    password: Secret | None = None

    def with_database(self, name: str, content: tuple[str, ...] = ()) -> Cluster:
        """Return the same cluster with a database added or changed."""
        return replace(self, databases={**self.databases, name: content})

    def without_database(self, name: str) -> Cluster:
        """Return the same cluster without a database."""
        return replace(self, databases={key: kept for key, kept in self.databases.items() if key != name})


FRESH = Cluster(databases={"postgres": (), "template1": ()}, username=SUPERUSER)


@dataclass(kw_only=True)
class Body:
    """One container of the world: what the runtime shows of it, what lies beside its server, and the server.

    `written` is the cluster as of its last checkpoint: what a commit of the container would hold.  `ended` is what
    became of a server whose container is still there.
    """

    container: Container
    record: Record
    cluster: Cluster
    written: Cluster
    logins_until_ready: int
    last_used: datetime
    lease: Lease | None = None
    spare_until: datetime | None = None
    ended: Evidence | None = None

    @property
    def serving(self) -> bool:
        """Tell whether there is a server to log in to."""
        return self.container.running and self.ended is None

    def is_over(self, now: datetime) -> bool:
        """Tell whether PID 1 has to end by now."""
        if self.lease is not None:
            ends, idle = [self.lease.expires_at], self.lease.idle_timeout
        else:
            ends, idle = [self.spare_until or self.container.ready_by], None
        if idle is not None:
            ends.append(self.last_used + timedelta(seconds=idle))
        return any(end is not None and end <= now for end in (*ends, self.container.hard_end))


@dataclass(kw_only=True)
class Stored:
    """One image that was made here, and the cluster in it."""

    image: StoredImage
    cluster: Cluster


@dataclass
class _Knobs:
    """What a test may turn, at any time."""

    down: bool = False
    logins_until_ready: int = 1
    dies_at_start: bool = False
    can_commit: bool = True
    can_prepare: bool = True
    contract: str = "memory"
    ends_by_itself: bool = True
    memory: int = 0
    providers: tuple[ProviderFacts, ...] = ()
    ahead: timedelta = timedelta(0)
    hung: set[str] = field(default_factory=set)
    extensions: set[str] = field(default_factory=lambda: {"hstore", "pg_trgm"})


class MemoryWorld(_Knobs):
    """The engine, and the servers in it.  Thread-safe.

    `ahead` is how far the engine's clock is ahead of ours; without `ends_by_itself` PID 1 is stuck, and nothing
    ends with its lease.  `can_commit` is a capability, and `contract` what the program of this moment makes containers by; without `can_prepare` no image can be prepared.
    About a container whose id is in `hung` the engine says nothing but that it is there.
    """

    def __init__(self, *, images: Sequence[str] = (), registry: Sequence[str] = ()) -> None:
        """Have `images` locally and `registry` to pull from."""
        super().__init__()
        self.images = {ref: _digest(ref) for ref in images}
        self.registry = set(registry)
        self.bodies: dict[str, Body] = {}
        self.stored: dict[str, Stored] = {}
        self.lock = threading.Lock()

    def body(self, container_id: str, deadline: Deadline | None = None) -> Body:
        """Return one container; raises InstanceNotFound, and EngineDown when it is hung."""
        self.check_up(deadline)
        if container_id in self.hung:
            raise EngineDown(f"the in-memory engine stopped answering while looking at {container_id[:12]}")
        body = self.bodies.get(container_id)
        if body is None:
            raise InstanceNotFound(f"container {container_id[:12]} is gone")
        return body

    def check_up(self, deadline: Deadline | None = None) -> None:
        """Raise EngineDown when the engine is down, and what a deadline that has passed raises."""
        if deadline is not None:
            deadline.check("asking the in-memory engine")
        if self.down:
            raise EngineDown("the in-memory engine is down", hint="set `down` to False")
        self._end_what_is_over()

    def kill(self, container_id: str, *, exit_code: int = 137, oom_killed: bool = False) -> None:
        """Let a server die inside its container, which stays until its lease is over."""
        self.body(container_id).ended = Evidence(
            exit_code=exit_code, oom_killed=oom_killed, finished_at=datetime.now(UTC)
        )

    def base_image(self, ref: str) -> Image | None:
        """Return a local image that was not made here."""
        if ref not in self.images:
            return None
        image_id = self.images[ref]
        version = ref.partition(":")[2].partition("-")[0]
        return Image(ref=ref, id=image_id, base_id=image_id, version=version)

    def renew_image(self, ref: str) -> None:
        """Let a name stand for another image, as after a pull of a newer one."""
        self.images[ref] = _digest(secrets.token_hex())

    def add(self, launch: Launch, port: int, *, running: bool = True) -> Container | None:
        """Add a container with a cluster of its own, None when another one has the port.

        Raises EngineFailed when its image is gone.
        """
        if launch.image.id not in {*self.images.values(), *self.stored}:
            raise EngineFailed(f"no such image: {launch.image.id}", hint="somebody has removed it")
        cluster = self._cluster(launch)
        with self.lock:
            others = [other.container for other in self.bodies.values() if other.container.running]
            if running and any(other.endpoint.port == port for other in others):
                return None
            # Here and not before: who comes later is younger.
            container = self._container(launch, port, running=running)
            self.bodies[container.container_id] = Body(
                container=container,
                record=launch.record,
                cluster=cluster,
                written=cluster,
                logins_until_ready=self.logins_until_ready,
                last_used=datetime.now(UTC),
                lease=None if launch.role in {Role.SPARE, Role.WARMING} else launch.lease,
                spare_until=launch.spare_until,
            )
        if running and self.dies_at_start:
            self.kill(container.container_id, exit_code=1)
        return container

    def _cluster(self, launch: Launch) -> Cluster:
        """Return what a server has when it starts: its image's cluster, or a new one, and its own password."""
        stored = self.stored.get(launch.image.id)
        names, password = launch.bootstrap, launch.record.password
        if stored is None:
            scripts = tuple(file.name for file in launch.init)
            made = FRESH.with_database(names.database, scripts)
            return replace(made, username=names.username, password=password)
        known = stored.cluster.username == names.username
        return replace(stored.cluster, password=password if known else None)

    def _container(self, launch: Launch, port: int, *, running: bool) -> Container:
        now, stored = datetime.now(UTC), self.stored.get(launch.image.id)
        return Container(
            id=launch.record.id,
            container_id=secrets.token_hex(32),
            endpoint=Endpoint(host=HOST, port=port),
            state="running" if running else "created",
            created_at=now,
            ready_by=now + timedelta(seconds=launch.patience),
            hard_end=launch.hard_end,
            role=launch.role,
            version=launch.image.version,
            image=launch.image.ref,
            image_id=launch.image.id,
            image_kind=stored.image.kind if stored is not None else None,
            base_id=launch.image.base_id,
            limits=launch.limits,
            settings=dict(launch.settings),
            maker=launch.maker,
            restored=launch.role is Role.RESTORING,
            contract=self.contract,
            user=_USER,
        )

    def _end_what_is_over(self) -> None:
        """Do what PID 1 of each container does, and the engine after it."""
        now = datetime.now(UTC) + self.ahead
        with self.lock:
            over = [
                key
                for key, body in self.bodies.items()
                if self.ends_by_itself and body.container.running and body.is_over(now)
            ]
            for key in over:
                del self.bodies[key]


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
