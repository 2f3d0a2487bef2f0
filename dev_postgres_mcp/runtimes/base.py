"""The runtime protocol: what the manager needs of a place where instances live, and nothing more.

A runtime knows containers, images and files; it knows no SQL and decides nothing.  What it cannot do is
data (`Capabilities`).  Every runtime passes tests/contract.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from dev_postgres_mcp.model import (
    Conninfo,
    Endpoint,
    Evidence,
    InitFile,
    Lease,
    Limits,
    Owner,
    Progress,
    Secret,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from dev_postgres_mcp.deadline import Deadline


NAME_PREFIX = "mcp-postgres-"
NO_LEASE = Lease()
NO_LIMITS = Limits(memory=0, cpus=0.0)


class Role(StrEnum):
    """What a container of ours is for; its name follows from role and id, and tells both.

    `RESTORING`: a restore has made it to take the place of the instance with its id.
    """

    INSTANCE = ""
    SPARE = "spare-"
    WARMING = "warming-"
    RESTORING = "restore-"
    PREPARING = "prepare-"

    def name_for(self, instance_id: str) -> str:
        """Return the one container name of this role and id."""
        return f"{NAME_PREFIX}{self.value}{instance_id}"


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a runtime can do beyond the protocol, and what to type where it takes a person.

    `images`: it can prepare images and take snapshots; else every create initialises a cluster of its own.
    `psql` names the program that `psql` needs on this machine; `unpause` is a command with a place for the
    container's name.  Empty: it cannot.  `contract` is the version of how its containers are made and written to;
    a program of another one does not claim them.  Empty: there was only ever one.  `default_version` is the major
    version of a create that asks for none; empty: any will do.
    """

    images: bool = False
    psql: str = ""
    unpause: str = ""
    contract: str = ""
    default_version: str = ""


@dataclass(frozen=True, kw_only=True)
class ProviderFacts:
    """Who brings the programs of local servers, and what comes with them.  `version` is PostgreSQL's own."""

    name: str
    version: str
    directory: str
    extensions: tuple[str, ...] = ()
    client_tools: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The engine behind a runtime, as `doctor` shows it.  Memory in bytes, 0 when it does not say.

    `providers` are for an engine that starts programs of this machine, best first; one with images has none.
    """

    name: str
    address: str
    context: str
    version: str
    api: str
    memory: int = 0
    cpus: int = 0
    disk: str = ""
    tried: tuple[str, ...] = ()
    providers: tuple[ProviderFacts, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Image:
    """A local image: its content-addressed id, PostgreSQL's major version if it says so, its volumes.

    `base_id` is the image it was prepared from, its own id when it was not; `prepared` says that its cluster is
    initialised and the superuser `postgres` has no password yet, `whole` that our scripts are in it, too, as they
    stand now; `user` is `uid:gid` of that system user where it is known.
    """

    ref: str
    id: str
    base_id: str = ""
    version: str = ""
    volumes: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    user: str = ""
    prepared: bool = False
    whole: bool = False
    seed: str = ""


class Kind(StrEnum):
    """What an image of ours holds."""

    PREPARED = "prepared"
    SNAPSHOT = "snapshot"
    BRANCH = "branch"


@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """An image that we made.  `size` in bytes, what it adds to its parent; `name` of a seed or snapshot.

    `source` is the id of the instance that was frozen; a branch's image is needed as long as a branch is there.
    """

    image: Image
    kind: Kind
    name: str
    key: str
    created_at: datetime
    expires_at: datetime | None = None
    source: str = ""
    size: int = 0
    database: str = ""
    username: str = ""
    limits: Limits = NO_LIMITS
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Freeze:
    """What a snapshot is to be called, how long it is kept, and as whom one logs in to what is in it."""

    kind: Kind
    key: str
    name: str
    expires_at: datetime | None
    database: str
    username: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is true of an instance and may change or is secret: kept beside the server, mode 0600.

    It carries the instance's id, so that a copy that came along in an image is recognised and ignored.
    """

    id: str
    name: str
    database: str
    username: str
    password: Secret
    created_at: datetime
    owner: Owner = Owner()
    labels: Mapping[str, str] = field(default_factory=dict)

    def conninfo(self, endpoint: Endpoint) -> Conninfo:
        """Return how to connect to the server at `endpoint`."""
        return Conninfo(
            endpoint=endpoint, database=self.database, username=self.username, password=self.password
        )


@dataclass(frozen=True, kw_only=True)
class State:
    """What lies beside a server: its record, its lease, and how it ended if it did while its container lives."""

    record: Record
    lease: Lease = NO_LEASE
    ended: Evidence | None = None


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A change of the state as a program for the server itself to run: a shell command and the lines of its input."""

    command: str
    lines: tuple[Secret, ...]


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """The names under which the image itself makes its user and database; the record has the final ones."""

    database: str
    username: str


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What a runtime is asked to start.  After `patience` seconds without a login it counts as broken.

    `maker` is the session that starts it.
    No lease goes beyond `hard_end`.  A spare, and what is to be one, has no lease yet; it ends at `spare_until`
    unless that is moved on.
    """

    record: Record
    bootstrap: Bootstrap
    image: Image
    limits: Limits
    maker: str = ""
    role: Role = Role.INSTANCE
    lease: Lease = NO_LEASE
    spare_until: datetime | None = None
    hard_end: datetime | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    init: tuple[InitFile, ...] = ()
    patience: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Container:
    """What a runtime holds under one id: alive, half-made or dead.  `evidence` only where it was looked for.

    `image` is what was asked for, `image_id` what it stands on, `maker` the session that started it; `restored`
    says that it has taken the place of another one.  `note` is what its user should know, such as a limit that does
    not hold.
    """

    id: str
    container_id: str
    endpoint: Endpoint
    state: str
    created_at: datetime
    ready_by: datetime
    hard_end: datetime | None = None
    role: Role = Role.INSTANCE
    version: str = ""
    image: str = ""
    image_id: str = ""
    base_id: str = ""
    limits: Limits
    settings: Mapping[str, str] = field(default_factory=dict)
    maker: str = ""
    restored: bool = False
    image_kind: Kind | None = None
    contract: str = ""
    user: str = ""
    note: str = ""
    evidence: Evidence | None = None

    @property
    def name(self) -> str:
        """Return the one name that follows from role and id."""
        return self.role.name_for(self.id)

    @property
    def running(self) -> bool:
        """Tell whether its processes run."""
        return self.state == "running"

    @property
    def dead(self) -> bool:
        """Tell whether it ran and will not run again."""
        return self.state in {"exited", "dead", "removing", "stopped", "ended"}

    def with_evidence(self, log_tail: str) -> Container:
        """Return the same container with the end of its log in the evidence."""
        return replace(self, evidence=replace(self.evidence or Evidence(), log_tail=log_tail))


class Runtime(Protocol):
    """The verbs.  Each raises EngineUnavailable when there is no engine, InstanceNotFound for what is gone.

    Without a deadline a verb gives the engine as long as one call may take; a create hands its own down.
    """

    @property
    def name(self) -> str:
        """The word of the house for it: `docker`, `memory`, ..."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do beyond the protocol."""

    def engine(self) -> Engine:
        """Reach the engine and describe it."""

    def find_image(self, ref: str, *, deadline: Deadline | None = None) -> Image | None:
        """Return the local image, None when it is absent."""

    def pull_image(self, ref: str, *, progress: Callable[[Progress], None], deadline: Deadline) -> Image:
        """Fetch an absent image; raises ImageUnavailable."""

    def start(self, launch: Launch, *, deadline: Deadline) -> Container:
        """Create and start; on any failure nothing is left behind.  Chooses a port nobody else has."""

    def list(self, *, deadline: Deadline | None = None) -> tuple[Container, ...]:
        """Return everything of ours in every role, oldest first, in one cheap call."""

    def inspect(self, container_id: str, *, deadline: Deadline | None = None) -> Container:
        """Return one container with its evidence."""

    def remove(self, container_id: str, *, deadline: Deadline | None = None) -> bool:
        """Remove it with its volumes, running or not; False when it was gone already."""

    def logs(self, container_id: str, *, tail: int, deadline: Deadline | None = None) -> str:
        """Return the last lines of its log."""

    def usage(self, container_id: str) -> Usage:
        """Return the memory it uses and may use."""

    def read_state(self, container: Container) -> State | None:
        """Return what lies beside the server, None while there is nothing; raises InstanceNotFound."""

    def write_state(
        self, container: Container, lease: Lease, *, record: Record | None = None, deadline: Deadline
    ) -> None:
        """Change the lease, and the record when one is given; whole and at once for every reader."""

    def delivery(self, container: Container, lease: Lease, record: Record) -> Delivery | None:
        """Return the same as something that the superuser can have the server do, which is quicker; None: cannot."""

    def renew(self, container: Container, until: datetime, *, deadline: Deadline) -> None:
        """Let a spare live until then; what has been claimed meanwhile is not touched by that."""

    def offer(self, container: Container, *, deadline: Deadline) -> Container:
        """Make a spare of what has warmed up; from then on it can be claimed.  Raises InstanceNotFound."""

    def claim(self, container: Container, *, deadline: Deadline) -> Container | None:
        """Make a spare an instance; None when it is gone or somebody else was faster.  One claimant wins."""

    def find_prepared(self, base: Image, *, seed: str = "", deadline: Deadline | None = None) -> Image | None:
        """Return the prepared image of a base image and seed, None when there is none."""

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

    def freeze(self, container: Container, freeze: Freeze, *, deadline: Deadline) -> StoredImage:
        """Keep the cluster of a running container as an image, while its processes stand still."""

    def restore(self, container: Container, launch: Launch, *, deadline: Deadline) -> Container:
        """Put what `launch` says in the place of a container: same id, same port.  A dead server's will do too.

        A lease that was written after the restoring container could be listed counts, not that of `launch`: who
        extends looks for that container after it has written, and writes again when it was too late.

        Whoever dies in the middle leaves the old one, or a new one that `finish_restore` brings up.
        """

    def finish_restore(self, container: Container, *, deadline: Deadline) -> Container | None:
        """Bring up what a dead restorer left; None when somebody else did."""

    def images(self, *, deadline: Deadline | None = None) -> tuple[StoredImage, ...]:
        """Return every image that we made, oldest first."""

    def remove_image(self, image_id: str, *, deadline: Deadline | None = None) -> bool:
        """Remove it; False when something still stands on it or it is gone."""

    def psql(self, container_id: str, conninfo: Conninfo) -> PsqlCommand:
        """Return how to run the server's own psql; raises EngineUnavailable when this machine cannot."""
        ...

    def remember(self, container: Container, state: State) -> None:
        """Note what was just written, so that this client need not read it."""

    def forget_all_but(self, containers: Iterable[Container]) -> None:
        """Drop what this client remembers of containers that are gone."""

    def close(self) -> None:
        """Let go of connections to the engine; the runtime may be used again."""


@dataclass(frozen=True, kw_only=True)
class PsqlCommand:
    """A command for a child process; secrets are in `environment` only, never among the arguments."""

    argv: tuple[str, ...]
    tty_argv: tuple[str, ...]
    environment: Mapping[str, str]
