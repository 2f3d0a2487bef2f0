"""The door to psycopg: one short connection a question, errors in our words.

Every libpq option that the user's own `PG*` environment could set is given here, so that it cannot reach in.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from dev_postgres_mcp.errors import InitFailed, LoginFailed
from dev_postgres_mcp.model import ServerFacts
from dev_postgres_mcp.sql.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dev_postgres_mcp.model import Conninfo

CONNECT_TIMEOUT = 2
"""Seconds; libpq's own minimum.  A server that is up answers in milliseconds."""
_STATEMENT_TIMEOUT = "60s"
_MAINTENANCE_DATABASE = "postgres"
_RENAME_SUPERUSER = (
    "create_stand_in",
    "become_stand_in",
    "rename_role",
    "be_oneself_again",
    "drop_stand_in",
)


class PostgresServer:
    """`Sql` over TCP.  Holds nothing between calls; safe on any thread."""

    def login(self, conninfo: Conninfo) -> float:
        """Log in with the password, run `SELECT 1` and return the seconds that it took."""
        started = time.perf_counter()
        with _connect(conninfo) as connection:
            _run(connection, "ping")
        return time.perf_counter() - started

    def facts(self, conninfo: Conninfo) -> ServerFacts:
        """Return what the server says of itself."""
        with _connect(conninfo) as connection:
            row = _run(connection, "server_facts").fetchone()
        if row is None:
            raise LoginFailed("the server answered with no row to a question about itself")
        version, uptime, connections, max_connections, size = row
        return ServerFacts(
            version=version.split()[0],
            uptime=uptime,
            connections=connections,
            max_connections=max_connections,
            database_size=size,
        )

    def create_extensions(self, conninfo: Conninfo, names: Sequence[str]) -> None:
        """Create extensions with what they need; raises InitFailed with the server's own words."""
        with _connect(conninfo) as connection:
            for name in names:
                _change(connection, f"extension {name!r}", "create_extension", extension=name)

    def rename(self, conninfo: Conninfo, *, database: str, username: str) -> None:
        """Rename the database and the superuser of `conninfo` where they differ; raises InitFailed."""
        with _connect(conninfo.on(database=_MAINTENANCE_DATABASE)) as connection:
            if database != conninfo.database:
                names = {"old_name": conninfo.database, "new_name": database}
                _change(connection, f"database {database!r}", "rename_database", **names)
            if username != conninfo.username:
                names = {"old_name": conninfo.username, "new_name": username}
                for step in _RENAME_SUPERUSER:
                    _change(connection, f"user {username!r}", step, **names)


@contextmanager
def _connect(conninfo: Conninfo) -> Iterator[psycopg.Connection[Any]]:
    try:
        with psycopg.connect(
            host=conninfo.endpoint.host,
            port=conninfo.endpoint.port,
            dbname=conninfo.database,
            user=conninfo.username,
            password=conninfo.password.reveal(),
            connect_timeout=CONNECT_TIMEOUT,
            application_name="dev-postgres-mcp",
            options=f"-c statement_timeout={_STATEMENT_TIMEOUT}",
            client_encoding="utf8",
            sslmode="prefer",
            gssencmode="disable",
            channel_binding="prefer",
            target_session_attrs="any",
            autocommit=True,
        ) as connection:
            yield connection
    except psycopg.Error as exc:
        raise LoginFailed(_first_line(exc)) from exc


def _run(connection: psycopg.Connection[Any], name: str) -> psycopg.Cursor[Any]:
    return connection.execute(load_queries()[name].encode(), prepare=False)


def _change(connection: psycopg.Connection[Any], what: str, name: str, **identifiers: str) -> None:
    statement = sql.SQL(load_queries()[name]).format(
        **{key: sql.Identifier(text) for key, text in identifiers.items()}
    )
    try:
        connection.execute(statement, prepare=False)
    except psycopg.Error as exc:
        hint = (exc.diag.message_hint or exc.diag.message_detail) or "see which extensions the image carries"
        raise InitFailed(f"{what}: {_first_line(exc)}", hint=hint) from exc


def _first_line(exc: psycopg.Error) -> str:
    text = exc.diag.message_primary or str(exc).strip() or type(exc).__name__
    return text.splitlines()[0]
