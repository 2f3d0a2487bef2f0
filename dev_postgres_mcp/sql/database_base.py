"""What the verbs on databases ask of PostgreSQL over TCP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    import psycopg

    from dev_postgres_mcp.model import Conninfo

    Connection = psycopg.Connection[Any]


@dataclass(frozen=True, kw_only=True)
class DatabaseFacts:
    """A database of a server, the comment on it, and how many clients are connected to it."""

    name: str
    comment: str
    clients: int


class DatabaseSession(Protocol):
    """A login that stays open, since a new one for each database would cost more than the database.

    It is opened anew when it was lost.  All raise DatabaseFailed with the server's own words, and LoginFailed
    when there is no way in.
    """

    def create(self, name: str) -> None:
        """Make an empty database."""

    def clone(self, name: str, template: str) -> None:
        """Make a database that is a copy of a template."""

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected; one that is gone already is no error."""

    def drop_template(self, name: str) -> None:
        """Remove a template, or a database that was to become one."""

    def seal(self, name: str, final: str) -> None:
        """Make a template of a database: end its clients, let nobody in any more, and give it its name at last."""

    def comment(self, name: str, text: str) -> None:
        """Write on a database what it is."""

    def databases(self) -> tuple[DatabaseFacts, ...]:
        """Return all databases of the server."""

    def applications(self) -> Sequence[str]:
        """Return the names under which clients are connected to the server, this one's own among them."""

    def turn(self, key: str) -> AbstractContextManager[None]:
        """Wait until nobody else on this server has the turn of that key; it ends with the session at the latest."""
        ...

    def close(self) -> None:
        """Let go of the server."""


class DatabaseSql(Protocol):
    """How a database is reached."""

    def open(self, conninfo: Conninfo, *, application: str) -> DatabaseSession:
        """Return a session, logged in under the name `application`; raises LoginFailed."""
        ...

    def connect(self, conninfo: Conninfo, *, autocommit: bool = False) -> Connection:
        """Return a connection for somebody else to use and close; raises LoginFailed."""
        ...
