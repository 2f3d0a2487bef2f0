"""`Sql` over TCP: one short connection a question, errors in our words."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from dev_postgres_mcp.errors import InitFailed, LoginFailed
from dev_postgres_mcp.model import ServerFacts
from dev_postgres_mcp.sql.connection import connect, cut, first_line
from dev_postgres_mcp.sql.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo
    from dev_postgres_mcp.runtimes.base import Delivery

_MAINTENANCE_DATABASE = "postgres"
_TEMPLATE_DATABASE = "template1"
_STAND_INS = ("dev_postgres_mcp_stand_in", "dev_postgres_mcp_substitute", "dev_postgres_mcp_deputy")
"""Names for a superuser of one statement: one of them is neither the old name nor the new one."""
_RENAME_SUPERUSER = (
    "create_stand_in",
    "become_stand_in",
    "rename_role",
    "reset_session",
    "drop_stand_in",
)


class PsycopgSql:
    """`Sql` over TCP.  Holds nothing between calls; safe on any thread."""

    def login(self, conninfo: Conninfo) -> float:
        """Log in with the password, run `SELECT 1` and return the seconds that it took."""
        started = time.perf_counter()
        with connect(conninfo) as connection:
            _run(connection, "ping")
        return time.perf_counter() - started

    def facts(self, conninfo: Conninfo) -> ServerFacts:
        """Return what the server says of itself."""
        started = time.perf_counter()
        with connect(conninfo) as connection:
            _run(connection, "ping")
            latency = time.perf_counter() - started
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
            latency=latency,
        )

    def create_extensions(self, conninfo: Conninfo, names: Sequence[str], *, deadline: Deadline) -> None:
        """Create extensions with what they need; raises InitFailed with the server's own words."""
        with _connect_until(deadline, conninfo, f"creating extensions: {', '.join(names)}") as connection:
            _run(connection, "commit_to_disk")
            for name in names:
                _change(connection, f"extension {name!r}", "create_extension", extension=name)

    def adjust(
        self,
        conninfo: Conninfo,
        wanted: Conninfo,
        *,
        copy: bool = False,
        delivery: Delivery | None = None,
        deadline: Deadline,
    ) -> None:
        """Make the server that answers to `conninfo` answer to `wanted`; raises InitFailed."""
        aside = _TEMPLATE_DATABASE if copy else _MAINTENANCE_DATABASE
        doing = "giving the server its database, user and password"
        with _connect_until(deadline, conninfo.on(database=aside), doing) as connection:
            _run(connection, "commit_to_disk")
            if wanted.database not in {conninfo.database, _MAINTENANCE_DATABASE, _TEMPLATE_DATABASE}:
                names = {"old_name": conninfo.database, "new_name": wanted.database}
                step = "rename_database"
                if conninfo.database == _MAINTENANCE_DATABASE:
                    step = "copy_database" if copy else "create_database"
                _change(connection, f"database {wanted.database!r}", step, **names)
            if wanted.username != conninfo.username:
                names = {"old_name": conninfo.username, "new_name": wanted.username}
                names["stand_in"] = next(name for name in _STAND_INS if name not in names.values())
                for step in _RENAME_SUPERUSER:
                    _change(connection, f"user {wanted.username!r}", step, **names)
            if wanted.password != conninfo.password:
                _set_password(connection, wanted)
            if delivery is not None:
                _deliver(connection, delivery)

    def checkpoint(self, conninfo: Conninfo, *, deadline: Deadline) -> None:
        """Have all that was committed before written to files; raises InitFailed."""
        with _connect_until(deadline, conninfo, "writing a checkpoint") as connection:
            _change(connection, "checkpoint", "checkpoint")


@contextmanager
def _connect_until(deadline: Deadline, conninfo: Conninfo, doing: str) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection that a passed or cancelled deadline cuts; `doing` says in the error what was cut."""
    try:
        with (
            connect(conninfo, patience=deadline.remaining()) as connection,
            deadline.on_cancel(lambda: cut(connection)),
        ):
            yield connection
    except (LoginFailed, InitFailed):
        deadline.check(doing)
        raise


def _run(connection: psycopg.Connection[Any], name: str) -> psycopg.Cursor[Any]:
    return connection.execute(load_queries()[name].encode(), prepare=False)


def _change(connection: psycopg.Connection[Any], what: str, name: str, **parts: str | sql.Literal) -> None:
    """Run a named statement; its parts are identifiers unless they are literals."""
    statement = sql.SQL(load_queries()[name]).format(
        **{key: sql.Identifier(part) if isinstance(part, str) else part for key, part in parts.items()}
    )
    try:
        connection.execute(statement, prepare=False)
    except psycopg.Error as exc:
        hint = (exc.diag.message_hint or exc.diag.message_detail) or "see which extensions the image carries"
        raise InitFailed(f"{what}: {first_line(exc)}", hint=hint) from exc


def _set_password(connection: psycopg.Connection[Any], wanted: Conninfo) -> None:
    """Set the password as its SCRAM verifier, so that no log of the server ever shows it."""
    user, password = wanted.username.encode(), wanted.password.reveal().encode()
    verifier = connection.pgconn.encrypt_password(password, user, b"scram-sha-256").decode()
    _change(connection, "password", "set_password", username=wanted.username, verifier=sql.Literal(verifier))


def _deliver(connection: psycopg.Connection[Any], delivery: Delivery) -> None:
    lines = sql.Literal([line.reveal() for line in delivery.lines])
    _change(connection, "silence", "log_no_statements")
    _change(connection, "silence", "show_no_activity")
    _change(connection, "record", "deliver", lines=lines, command=sql.Literal(delivery.command))
