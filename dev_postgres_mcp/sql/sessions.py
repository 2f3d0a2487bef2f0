"""A session that a passed or cancelled deadline cuts, and the statements that are run in it."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from dev_postgres_mcp.errors import DeadlineExceeded, LoginFailed
from dev_postgres_mcp.sql.connection import connect, cut
from dev_postgres_mcp.sql.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo


@contextmanager
def open_session(
    conninfo: Conninfo, deadline: Deadline, doing: Callable[[], str]
) -> Iterator[psycopg.Connection[Any]]:
    """Yield a session in autocommit; the server ends it soon after its client is gone, also in mid-statement.

    Raises what `check_time` raises when it was cut, else LoginFailed with the server's own words.
    """
    check_time(deadline, doing())
    try:
        with (
            connect(conninfo, patience=deadline.remaining()) as connection,
            deadline.on_cancel(lambda: cut(connection)),
        ):
            with suppress(psycopg.Error):  # not every system that a server runs on can tell
                ask(connection, "notice_hangup")
            yield connection
    except LoginFailed:
        check_time(deadline, doing())
        raise


@contextmanager
def open_lasting_session(
    conninfo: Conninfo, deadline: Deadline, *, grace: float
) -> Iterator[psycopg.Connection[Any]]:
    """Yield a session that is cut `grace` seconds after the deadline or its cancel; raises LoginFailed."""
    with connect(conninfo, patience=deadline.remaining() + grace) as connection:
        timer = threading.Timer(grace, cut, (connection,))
        timer.daemon = True
        try:
            with deadline.on_cancel(timer.start):
                yield connection
        finally:
            timer.cancel()


def ask(connection: psycopg.Connection[Any], name: str, **numbers: int) -> psycopg.Cursor[Any]:
    """Run a statement of ours, `numbers` in its places; raises psycopg.Error."""
    statement = sql.SQL(query(name))
    if numbers:
        return connection.execute(
            statement.format(**{key: sql.Literal(number) for key, number in numbers.items()}), prepare=False
        )
    return connection.execute(statement, prepare=False)


def query(name: str) -> str:
    """Return a statement of `inspection.sql` or `running.sql`."""
    return (load_queries("inspection.sql") | load_queries("running.sql"))[name]


def check_time(deadline: Deadline, doing: str) -> None:
    """Raise Cancelled or DeadlineExceeded when there is no time left for `doing`."""
    try:
        deadline.check(doing)
    except DeadlineExceeded as exc:
        hint = "give it more time, or look at what the statement waits for"
        raise DeadlineExceeded(exc.message, hint=hint) from exc
