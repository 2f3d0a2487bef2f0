"""A look at a session's locks that comes late blames the statement that took them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.sql.watching import Watcher
from tests.helpers.stages import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from dev_postgres_mcp.app import App

pytestmark = pytest.mark.docker

WAITS_FOR_A_LOCK = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"


@pytest.fixture(scope="module")
def dsn(program: App) -> str:
    conninfo = program.manager.create(build_spec(program.defaults)).conninfo
    assert conninfo is not None
    return conninfo.dsn()


@pytest.fixture
def connections(dsn: str) -> Iterator[list[psycopg.Connection[Any]]]:
    """The session that is watched, the watcher's, one that gets in its way, and one that sees whether it does."""
    opened = [psycopg.connect(dsn, autocommit=number == 3) for number in range(4)]
    yield opened
    for connection in opened:
        connection.close()


def test_a_look_that_outlasts_its_statement_blames_the_one_that_runs_by_then(
    connections: list[psycopg.Connection[Any]],
) -> None:
    watched, watching, blocking, observing = connections
    observing.execute("CREATE TABLE people ()")
    watched.execute(
        "LOCK TABLE people IN ACCESS SHARE MODE"
    )  # from now on it knows the table without the catalog
    watcher = Watcher(watching, watched.info.backend_pid)
    watcher.begin_statement(1)
    watcher.look()
    watching.rollback()

    def waits() -> bool:
        return observing.execute(WAITS_FOR_A_LOCK, [watching.info.backend_pid]).fetchone() == (True,)

    assert not waits()
    blocking.execute("LOCK TABLE pg_catalog.pg_namespace")
    late = threading.Thread(target=watcher.look, kwargs={"now": True})
    late.start()
    try:
        wait_until(waits)
        watcher.begin_statement(2)
        watched.execute("LOCK TABLE people")
    finally:
        blocking.rollback()
        late.join()
    (held,) = watcher.held()
    assert (held.relation, held.mode, held.statement) == ("public.people", "AccessExclusiveLock", 2)
