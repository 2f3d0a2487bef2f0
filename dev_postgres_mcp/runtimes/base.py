"""The runtime protocol: what the manager needs of a place where instances live, and nothing more.

A runtime knows containers, images and files; it knows no SQL and decides nothing.  What it cannot do is
data (`Capabilities`).  Every runtime passes tests/contract.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from dev_postgres_mcp.errors import InvalidInput
from dev_postgres_mcp.model import (
    Conninfo,
    Endpoint,
    Evidence,
    InitFile,
    Limits,
    Owner,
    Progress,
    Secret,
    Usage,
)
from dev_postgres_mcp.parsing import check_display_name, check_name, check_password

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from dev_postgres_mcp.deadline import Deadline


NAME_PREFIX = "mcp-postgres-"


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a runtime can do beyond the protocol, and what to type where it takes a person.

    `psql` names the program that `psql` needs on this machine; `revive` and `unpause` are commands with a
    place for the container's name.  Empty: it cannot.
    """

    psql: str = ""
    revive: str = ""
    unpause: str = ""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The engine behind a runtime, as `doctor` shows it.  Memory in bytes, 0 when it does not say."""

    name: str
    address: str
    context: str
    version: str
    api: str
    memory: int = 0
    cpus: int = 0
    disk: str = ""
    tried: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Image:
    """A local image: its content-addressed id, PostgreSQL's major version if it says so, its volumes."""

    ref: str
    id: str
    version: str = ""
    volumes: tuple[str, ...] = ()


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

    def conninfo(self, endpoint: Endpoint) -> Conninfo:
        """Return how to connect to the server at `endpoint`."""
        return Conninfo(
            endpoint=endpoint, database=self.database, username=self.username, password=self.password
        )

    def to_json(self) -> bytes:
        """Return the record as it stands in the file."""
        return json.dumps(asdict(self) | {"password": self.password.reveal()}).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Record | None:
        """Return the record in a file's content, None when it is no whole record.

        The superuser inside can write that file, so that nothing in it is believed unseen.
        """
        try:
            fields = json.loads(content)
        except ValueError:
            return None
        names = ("id", "name", "database", "username", "password")
        if not isinstance(fields, dict) or not all(isinstance(fields.get(name), str) for name in names):
            return None
        try:
            return cls(
                id=fields["id"],
                name=check_display_name(fields["name"]),
                database=check_name(fields["database"], what="database"),
                username=check_name(fields["username"], what="user"),
                password=Secret(check_password(fields["password"])),
            )
        except InvalidInput:
            return None


@dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """The names under which the image itself makes its user and database; the record has the final ones."""

    database: str
    username: str


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What a runtime is asked to start.  After `patience` seconds without a login it counts as broken."""

    record: Record
    bootstrap: Bootstrap
    image: Image
    limits: Limits
    owner: Owner = Owner()
    labels: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    init: tuple[InitFile, ...] = ()
    patience: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Container:
    """What a runtime holds under one id: alive, half-made or dead.  `evidence` only where it was looked for."""

    id: str
    container_id: str
    endpoint: Endpoint
    state: str
    created_at: datetime
    ready_by: datetime
    version: str = ""
    image: str = ""
    limits: Limits
    owner: Owner = Owner()
    labels: Mapping[str, str] = field(default_factory=dict)
    evidence: Evidence | None = None

    @property
    def name(self) -> str:
        """Return the one name that follows from the id."""
        return NAME_PREFIX + self.id

    @property
    def running(self) -> bool:
        """Tell whether its processes run."""
        return self.state == "running"

    @property
    def dead(self) -> bool:
        """Tell whether it ran and will not run again."""
        return self.state in {"exited", "dead", "removing", "stopped"}

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
        """Return everything of ours, oldest first, in one cheap call."""

    def inspect(self, container_id: str, *, deadline: Deadline | None = None) -> Container:
        """Return one container with its evidence."""

    def remove(self, container_id: str, *, deadline: Deadline | None = None) -> bool:
        """Remove it with its volumes, running or not; False when it was gone already."""

    def logs(self, container_id: str, *, tail: int, deadline: Deadline | None = None) -> str:
        """Return the last lines of its log."""

    def usage(self, container_id: str) -> Usage:
        """Return the memory it uses and may use."""

    def read_record(self, container_id: str) -> Record | None:
        """Return the record beside the server, None while there is none; raises InstanceNotFound."""

    def psql(self, container_id: str, conninfo: Conninfo) -> PsqlCommand:
        """Return how to run the server's own psql; raises EngineUnavailable when this machine cannot."""
        ...

    def close(self) -> None:
        """Let go of connections to the engine; the runtime may be used again."""


@dataclass(frozen=True, kw_only=True)
class PsqlCommand:
    """A command for a child process; secrets are in `environment` only, never among the arguments."""

    argv: tuple[str, ...]
    tty_argv: tuple[str, ...]
    environment: Mapping[str, str]
