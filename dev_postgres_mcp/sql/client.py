"""The door to psycopg: one short connection a question, errors in our words.

Every libpq option that the user's own `PG*` environment could set is given here, so that it cannot reach in;
what has no option (PGSERVICE, PGTZ, ...) the program takes out of its environment when it starts.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from dev_postgres_mcp.errors import InitFailed, LoginFailed
from dev_postgres_mcp.model import ServerFacts
from dev_postgres_mcp.sql.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo
    from dev_postgres_mcp.runtimes.base import Delivery

CONNECT_TIMEOUT = 2
"""Seconds; libpq's own minimum.  A server that is up answers in milliseconds."""
PINNED_OPTIONS: Mapping[str, str] = {
    "hostaddr": "",
    "options": "",
    "client_encoding": "utf8",
    "sslmode": "prefer",
    "sslnegotiation": "postgres",
    "sslcertmode": "allow",
    "ssl_min_protocol_version": "",
    "ssl_max_protocol_version": "",
    "min_protocol_version": "3.0",
    "max_protocol_version": "3.0",
    "load_balance_hosts": "disable",
    "gssencmode": "disable",
    "channel_binding": "prefer",
    "require_auth": "scram-sha-256,md5,password,none",
    "target_session_attrs": "any",
}
ANSWER_TIMEOUT = 5.0
"""Seconds for a login and a look; a server that is paused in between answers nothing at all."""
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
        with _connect(conninfo) as connection:
            _run(connection, "ping")
        return time.perf_counter() - started

    def facts(self, conninfo: Conninfo) -> ServerFacts:
        """Return what the server says of itself."""
        started = time.perf_counter()
        with _connect(conninfo) as connection:
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
        with _connect_until(deadline, conninfo) as connection:
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
        with _connect_until(deadline, conninfo.on(database=aside)) as connection:
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
        with _connect_until(deadline, conninfo) as connection:
            _change(connection, "checkpoint", "checkpoint")


@contextmanager
def _connect_until(deadline: Deadline, conninfo: Conninfo) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection that a passed or cancelled deadline cuts, whatever it is doing."""
    try:
        with (
            _connect(conninfo, patience=deadline.remaining()) as connection,
            deadline.on_cancel(lambda: _cut(connection)),
        ):
            yield connection
    except (LoginFailed, InitFailed):
        deadline.check("finishing the new instance")
        raise


@contextmanager
def _connect(conninfo: Conninfo, *, patience: float = ANSWER_TIMEOUT) -> Iterator[psycopg.Connection[Any]]:
    try:
        with psycopg.connect(_render(conninfo), autocommit=True) as connection:
            timer = threading.Timer(min(patience, threading.TIMEOUT_MAX), _cut, (connection,))
            timer.start()
            try:
                yield connection
            finally:
                timer.cancel()
    except psycopg.Error as exc:
        raise LoginFailed(_first_line(exc)) from exc


def _render(conninfo: Conninfo) -> str:
    return make_conninfo(
        host=conninfo.endpoint.host,
        port=conninfo.endpoint.port,
        dbname=conninfo.database,
        user=conninfo.username,
        password=conninfo.password.reveal(),
        connect_timeout=CONNECT_TIMEOUT,
        application_name="dev-postgres-mcp",
        **PINNED_OPTIONS,
    )


def _cut(connection: psycopg.Connection[Any]) -> None:
    """Shut the socket under a connection: a thread that waits on it wakes up with an error."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)


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
        raise InitFailed(f"{what}: {_first_line(exc)}", hint=hint) from exc


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


def _first_line(exc: psycopg.Error) -> str:
    text = exc.diag.message_primary or str(exc).strip() or type(exc).__name__
    return text.splitlines()[0]
