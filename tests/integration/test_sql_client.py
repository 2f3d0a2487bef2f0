"""The door to psycopg against a real server: under a hostile environment, and cut in mid-statement."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

import psycopg
import pytest

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import Cancelled, DeadlineExceeded
from dev_postgres_mcp.model import Secret
from tests.helpers.stages import run_together
from tests.integration.queries import dsn_of, value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev_postgres_mcp.model import Conninfo, Instance
    from tests.helpers.stages import DockerStage
    from tests.integration.conftest import Create

pytestmark = pytest.mark.docker

PROMPTLY = 5.0
"""Seconds; a cut takes milliseconds, and this machine is shared."""


@pytest.mark.parametrize(
    "variable, text",
    [
        ("PGHOST", "192.0.2.1"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGPORT", "1"),
        ("PGDATABASE", "elsewhere"),
        ("PGUSER", "somebody"),
        ("PGPASSWORD", "wrong"),
        ("PGPASSFILE", "/no/such/file"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLNEGOTIATION", "direct"),
        ("PGSSLCERTMODE", "require"),
        ("PGSSLROOTCERT", "/no/such/file"),
        ("PGGSSENCMODE", "require"),
        ("PGREQUIREAUTH", "none"),
        ("PGCHANNELBINDING", "require"),
        ("PGTARGETSESSIONATTRS", "standby"),
        ("PGCLIENTENCODING", "SQL_ASCII"),
        ("PGOPTIONS", "-c default_transaction_read_only=on -c no_such_setting=1"),
        ("PGMINPROTOCOLVERSION", "3.2"),
        ("PGCONNECT_TIMEOUT", "nonsense"),
    ],
)
def test_the_users_own_environment_cannot_reach_in(
    monkeypatch: pytest.MonkeyPatch, stage: DockerStage, shop: Instance, variable: str, text: str
) -> None:
    assert shop.conninfo is not None
    monkeypatch.setenv(variable, text)
    assert stage.sql.login(shop.conninfo) > 0
    assert stage.sql.facts(shop.conninfo).database_size > 0


@pytest.fixture
def stuck(create: Create) -> Iterator[Conninfo]:
    """A server on which every extension and every renaming waits for a lock that nobody gives back."""
    instance = create(database="shop")
    assert instance.conninfo is not None
    with psycopg.connect(dsn_of(instance)) as holder:
        holder.execute("LOCK TABLE pg_extension, pg_database, pg_authid IN EXCLUSIVE MODE")
        yield instance.conninfo
        holder.rollback()


def wait_until_it_waits(conninfo: Conninfo) -> None:
    """Wait until a statement of ours waits for the lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    deadline = Deadline(20)
    while value(conninfo.dsn(), waiting) == 0:
        deadline.check("waiting for a statement that waits")


@pytest.mark.parametrize(
    "verb, time_left",
    [("extension", 600), ("database", 600), ("user", 600), ("password", 600), ("extension", inf)],
)
def test_a_cancel_cuts_a_statement_that_waits(
    stage: DockerStage, stuck: Conninfo, verb: str, time_left: float
) -> None:
    deadline = Deadline(time_left)
    seconds: list[float] = []

    def change() -> None:
        if verb == "extension":
            stage.sql.create_extensions(stuck, ["hstore"], deadline=deadline)
        else:
            stage.sql.adjust(stuck, changed(stuck, verb), deadline=deadline)

    def cancel() -> None:
        wait_until_it_waits(stuck)
        seconds.append(time.monotonic())
        deadline.cancel()

    raised = run_together(change, cancel)
    assert [type(error) for error in raised] == [Cancelled]
    assert time.monotonic() - seconds[0] < PROMPTLY


def changed(conninfo: Conninfo, what: str) -> Conninfo:
    """Return the same login with another database, user or password."""
    return {
        "database": conninfo.on(database="other"),
        "user": conninfo.on(username="other"),
        "password": replace(conninfo, password=Secret("another-one")),
    }[what]


def test_a_deadline_that_passes_cuts_a_statement_that_waits(stage: DockerStage, stuck: Conninfo) -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="creating extensions: hstore"):
        stage.sql.create_extensions(stuck, ["hstore"], deadline=Deadline(0.5))
    assert 0.4 < time.monotonic() - started < PROMPTLY


def test_a_cut_leaves_no_thread_behind(stage: DockerStage, shop: Instance) -> None:
    assert shop.conninfo is not None
    before = threading.active_count()
    for _ in range(20):
        stage.sql.login(shop.conninfo)
    assert threading.active_count() <= before + 1
