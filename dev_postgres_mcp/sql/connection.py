"""How this program connects to a server: every login is made here, and said in full.

Every libpq option that the user's own `PG*` environment could set is given here, so that it cannot reach in;
what has no option (PGSERVICE, PGTZ, ...) the program takes out of its environment when it starts, and a library
hides from libpq while it logs in.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo as LibpqOptions

from dev_postgres_mcp.errors import LoginFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dev_postgres_mcp.model import Conninfo

APPLICATION = "dev-postgres-mcp"
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


@contextmanager
def connect(conninfo: Conninfo, *, patience: float = ANSWER_TIMEOUT) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection in autocommit that is cut after `patience` seconds.

    Raises LoginFailed with the server's own words, also for what goes wrong while it is used.
    """
    try:
        with psycopg.connect(render_conninfo(conninfo), autocommit=True) as connection:
            timer = threading.Timer(min(patience, threading.TIMEOUT_MAX), cut, (connection,))
            timer.start()
            try:
                yield connection
            finally:
                timer.cancel()
    except psycopg.Error as exc:
        raise LoginFailed(first_line(exc)) from exc


def render_conninfo(conninfo: Conninfo, *, application: str = APPLICATION) -> str:
    """Return what goes to libpq: nothing that the environment could say is left out."""
    return make_conninfo(
        host=conninfo.endpoint.host,
        port=conninfo.endpoint.port,
        dbname=conninfo.database,
        user=conninfo.username,
        password=conninfo.password.reveal(),
        connect_timeout=CONNECT_TIMEOUT,
        application_name=application,
        **_pinned_options(),
    )


@cache
def _pinned_options() -> Mapping[str, str]:
    """Return what this libpq knows of them: psycopg may stand on one of the system's, older than its wheel's."""
    known = {option.keyword.decode() for option in LibpqOptions.get_defaults()}
    return {name: value for name, value in PINNED_OPTIONS.items() if name in known}


def cut(connection: psycopg.Connection[Any]) -> None:
    """Shut the socket under a connection: a thread that waits on it wakes up with an error."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)


def first_line(exc: psycopg.Error) -> str:
    """Return the server's message, or the first line of the library's."""
    text = exc.diag.message_primary or str(exc).strip() or type(exc).__name__
    return text.splitlines()[0]
