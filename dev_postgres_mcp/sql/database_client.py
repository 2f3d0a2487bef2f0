"""`DatabaseSql` over TCP."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from dev_postgres_mcp.errors import DatabaseFailed, LoginFailed
from dev_postgres_mcp.sql.connection import cut, first_line, render_conninfo
from dev_postgres_mcp.sql.database_base import DatabaseFacts
from dev_postgres_mcp.sql.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from dev_postgres_mcp.model import Conninfo
    from dev_postgres_mcp.sql.database_base import Connection

FILE_COPY = 150000
"""From this version on there is another strategy, which is the default (release notes of PostgreSQL 15)."""
STATEMENT_TIMEOUT = 60.0
"""Seconds after which a server counts as hung; a statement of ours takes milliseconds, a big clone some seconds."""


class PsycopgDatabaseSql:
    """Holds nothing between calls; every login is made under `shield`."""

    def __init__(self, shield: Callable[[], AbstractContextManager[None]]) -> None:
        """Keep out of a login what no option keeps out."""
        self._shield = shield

    def open(self, conninfo: Conninfo, *, application: str) -> PsycopgDatabaseSession:
        """Return a session, logged in under the name `application`; raises LoginFailed."""
        return PsycopgDatabaseSession(lambda: self._login(conninfo, application, autocommit=True))

    def connect(self, conninfo: Conninfo, *, autocommit: bool = False) -> Connection:
        """Return a connection for somebody else to use and close; raises LoginFailed."""
        return self._login(conninfo, "", autocommit=autocommit)

    def _login(self, conninfo: Conninfo, application: str, *, autocommit: bool) -> Connection:
        try:
            with self._shield():
                return psycopg.connect(
                    render_conninfo(conninfo, application=application), autocommit=autocommit
                )
        except psycopg.Error as exc:
            raise LoginFailed(f"no login to database {conninfo.database}: {first_line(exc)}") from exc


class PsycopgDatabaseSession:
    """A connection in autocommit.  For one thread."""

    def __init__(self, login: Callable[[], Connection]) -> None:
        """Log in, and again with the first statement after the connection was lost."""
        self._login = login
        self._connection = login()

    def create(self, name: str) -> None:
        """Make an empty database."""
        self._change(f"create database {name}", "make_database", name=name)

    def clone(self, name: str, template: str) -> None:
        """Make a database that is a copy of a template."""
        can_choose = self._open().info.server_version >= FILE_COPY
        statement = "clone_database_files" if can_choose else "clone_database"
        self._change(f"clone {template} as {name}", statement, name=name, template=template)

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected; one that is gone already is no error."""
        self._change(f"drop database {name}", "drop_database", name=name)

    def drop_template(self, name: str) -> None:
        """Remove a template, or a database that was to become one."""
        row = self._change(f"look at {name}", "is_template", text=sql.Literal(name)).fetchone()
        if row is not None and row[0]:
            self._change(f"drop template {name}", "open_template", name=name)
        self.drop(name)

    def seal(self, name: str, final: str) -> None:
        """Make a template of a database: end its clients, let nobody in any more, and give it its name at last."""
        doing = f"make a template of database {name}"
        self._change(doing, "close_template", name=name)
        self._change(doing, "end_clients", text=sql.Literal(name))
        self._change(doing, "name_template", name=name, final=final)

    def comment(self, name: str, text: str) -> None:
        """Write on a database what it is."""
        self._change(f"comment on database {name}", "comment_database", name=name, text=sql.Literal(text))

    def databases(self) -> tuple[DatabaseFacts, ...]:
        """Return all databases of the server."""
        rows = self._change("list the databases", "list_databases").fetchall()
        return tuple(
            DatabaseFacts(name=name, comment=comment, clients=clients) for name, comment, clients in rows
        )

    def applications(self) -> tuple[str, ...]:
        """Return the names under which clients are connected to the server, this one's own among them."""
        return tuple(name for (name,) in self._change("list the clients", "list_applications").fetchall())

    @contextmanager
    def turn(self, key: str) -> Iterator[None]:
        """Wait until nobody else on this server has the turn of that key; it ends with the session at the latest."""
        number = sql.Literal(int.from_bytes(sha256(key.encode()).digest()[:8], signed=True))
        self._change(
            f"wait for the turn of {key}", "take_turn", patience=threading.TIMEOUT_MAX, number=number
        )
        try:
            yield
        finally:
            if not self._connection.closed:  # else the turn has ended with it
                self._change(f"pass the turn of {key}", "pass_turn", number=number)

    def close(self) -> None:
        """Let go of the server."""
        self._connection.close()

    def _open(self) -> Connection:
        if self._connection.closed:
            self._connection = self._login()
        return self._connection

    def _change(
        self, doing: str, query: str, /, *, patience: float = STATEMENT_TIMEOUT, **parts: str | sql.Literal
    ) -> psycopg.Cursor[Any]:
        """Run a named statement; its parts are identifiers unless they are literals."""
        statement = sql.SQL(load_queries("databases.sql")[query]).format(
            **{key: sql.Identifier(part) if isinstance(part, str) else part for key, part in parts.items()}
        )
        connection = self._open()
        timer = threading.Timer(patience, cut, (connection,))
        timer.daemon = True
        timer.start()
        try:
            return connection.execute(statement, prepare=False)
        except psycopg.Error as exc:
            hint = exc.diag.message_hint or exc.diag.message_detail or ""
            raise DatabaseFailed(f"could not {doing}: {first_line(exc)}", hint=hint) from exc
        finally:
            timer.cancel()
