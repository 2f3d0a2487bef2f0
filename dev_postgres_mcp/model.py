"""The frozen values that every storey speaks: what is asked for, what is there, how it fares.

Standard library only, no I/O.  Sizes are bytes, durations seconds, times timezone-aware UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

DEFAULT_VERSION = "17"
SUPPORTED_VERSIONS = ("14", "15", "16", "17", "18")


@dataclass(frozen=True)
class Secret:
    """A text that no repr, log line or error shows; `reveal()` says that it is wanted."""

    _text: str = field(repr=False)

    def __repr__(self) -> str:
        """Hide the text."""
        return "***"

    __str__ = __repr__

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text


class Status(StrEnum):
    """Where an instance stands in its life (DESIGN: wire shape)."""

    PENDING = "pending"
    STARTING = "starting"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    EXITED = "exited"
    LOST = "lost"


class Keep(StrEnum):
    """When an instance outlives the command that it was made for; `ON_FAILURE`: when the exit code is not 0."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who asked for an instance: a label for people, never a lock."""

    session: str = ""
    user: str = ""
    cwd: str = ""
    process: str = ""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one instance may use: memory in bytes, CPUs as a fraction of cores."""

    memory: int
    cpus: float


@dataclass(frozen=True, kw_only=True)
class Lease:
    """How long an instance may live: a moment, and seconds without a client; None: no such end."""

    expires_at: datetime | None = None
    idle_timeout: float | None = None


@dataclass(frozen=True, kw_only=True)
class InstanceSpec:
    """What a caller asked for. `image` is always whole; `version` is empty when the caller named it.

    `ttl` and `idle_timeout` are seconds, None: no such end.  `seed` names a prepared image with data.
    """

    version: str
    image: str
    database: str
    username: str
    password: Secret
    limits: Limits
    ttl: float | None = None
    idle_timeout: float | None = None
    name: str = ""
    seed: str = ""
    owner: Owner = Owner()
    labels: Mapping[str, str] = field(default_factory=dict)
    extensions: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    init: tuple[InitFile, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BranchSpec:
    """What a caller asked of a branch; what is None is as in the instance that it branches from."""

    password: Secret
    ttl: float | None = None
    idle_timeout: float | None = None
    memory: int | None = None
    cpus: float | None = None
    name: str = ""
    owner: Owner = Owner()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class InitFile:
    """A file that the image runs once, or that such a file needs; `name` is its path in the init directory."""

    path: Path
    name: str


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a server listens, as its clients reach it."""

    host: str
    port: int


@dataclass(frozen=True, kw_only=True)
class Conninfo:
    """Where and as whom to connect."""

    endpoint: Endpoint
    database: str
    username: str
    password: Secret

    def dsn(self) -> str:
        """Return the libpq URI, every part percent-encoded (PostgreSQL manual, 32.1.1.2)."""
        return self._uri(quote(self.password.reveal(), safe=""))

    def redacted_dsn(self) -> str:
        """Return the same URI with `***` for the password."""
        return self._uri("***")

    def environment(self) -> dict[str, str]:
        """Return `DATABASE_URL` and libpq's own `PG*` variables (PostgreSQL manual, 32.15)."""
        return {
            "DATABASE_URL": self.dsn(),
            "PGHOST": self.endpoint.host,
            "PGPORT": str(self.endpoint.port),
            "PGUSER": self.username,
            "PGPASSWORD": self.password.reveal(),
            "PGDATABASE": self.database,
        }

    def on(self, *, database: str = "", username: str = "") -> Conninfo:
        """Return the same login on another database or as another user."""
        return replace(self, database=database or self.database, username=username or self.username)

    def _uri(self, password: str) -> str:
        host = f"[{self.endpoint.host}]" if ":" in self.endpoint.host else self.endpoint.host
        user, database = quote(self.username, safe=""), quote(self.database, safe="")
        return f"postgresql://{user}:{password}@{host}:{self.endpoint.port}/{database}"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a dead server left behind."""

    exit_code: int | None = None
    oom_killed: bool = False
    finished_at: datetime | None = None
    log_tail: str = ""

    def summary(self) -> str:
        """Return the evidence as lines for an error text, the log tail last."""
        killed = ", out of memory (OOM)" if self.oom_killed else ""
        tail = f"\nlast log lines:\n{self.log_tail}" if self.log_tail else ""
        return f"exit code {self.exit_code}{killed}{tail}"


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One PostgreSQL server of ours, as it stands now.

    `conninfo` is None when its record cannot be read (its creator died before writing it, or the
    container is half removed): such an instance can still be listed and dropped.
    """

    id: str
    name: str
    container_id: str
    runtime: str
    version: str
    image: str
    created_at: datetime
    status: Status
    limits: Limits
    endpoint: Endpoint
    lease: Lease = Lease()
    owner: Owner = Owner()
    labels: Mapping[str, str] = field(default_factory=dict)
    conninfo: Conninfo | None = None
    evidence: Evidence | None = None
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class ServerFacts:
    """What a live server says of itself; `latency` is the time of connect, login and one query."""

    version: str
    uptime: float
    connections: int
    max_connections: int
    database_size: int
    latency: float


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Memory of one instance in bytes, as the engine counts it."""

    memory: int
    memory_limit: int


@dataclass(frozen=True, kw_only=True)
class Health:
    """The answer of a health check; `facts` only when the login worked."""

    instance: Instance
    healthy: bool
    facts: ServerFacts | None = None
    usage: Usage | None = None
    hint: str = ""


class Outcome(StrEnum):
    """What a drop did."""

    DROPPED = "dropped"
    ALREADY_GONE = "already_gone"


@dataclass(frozen=True, kw_only=True)
class Drop:
    """What became of one reference given to drop."""

    ref: str
    id: str
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class InstanceList:
    """All instances of one engine, with what they sum up to and what is allowed."""

    instances: tuple[Instance, ...]
    memory: int
    max_instances: int
    max_memory: int


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One step of a long verb; `done` and `total` in bytes where they are known, else 0."""

    message: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, kw_only=True)
class PreparedImage:
    """A local image whose cluster is initialised.  `size` is what it adds to its base, in bytes.

    `seed` is the name of the data in it, empty for none.  `stale`: its base image has changed or is gone.
    """

    id: str
    key: str
    base: str
    version: str
    seed: str
    created_at: datetime
    size: int
    users: tuple[str, ...] = ()
    stale: bool = False


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A frozen state of an instance's whole cluster.  `size` is what it adds to its parent, in bytes.

    `branches` are the ids of the instances that stand on it; `restored` those of them that were not made from it
    but put back to it.
    """

    id: str
    name: str
    source: str
    version: str
    image: str
    created_at: datetime
    expires_at: datetime | None
    size: int
    branches: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """Something of ours that a sweep removes, and why."""

    kind: str
    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Spare:
    """A started, unclaimed instance."""

    id: str
    version: str
    port: int
    created_at: datetime
    maker: str


@dataclass(frozen=True, kw_only=True)
class PoolStatus:
    """The spares of one engine, whoever made them, and how many each server keeps.

    `reason` says why none of them is one that a create with the defaults can claim, and what changes that; empty
    when one is.
    """

    size: int
    spares: tuple[Spare, ...]
    reason: str = ""
