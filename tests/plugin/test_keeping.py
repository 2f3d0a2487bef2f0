"""What a failed test leaves to look at, and what is left of runs that were killed."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.databases.cloning import CLONE_PREFIX
from tests.helpers.acts import conninfo_of
from tests.helpers.stages import wait_until
from tests.integration.queries import databases, value

if TYPE_CHECKING:
    from tests.plugin.suites import Suite

pytestmark = pytest.mark.docker

MIXED = """
import pytest

@pytest.fixture
def told(postgres_database, postgres_instance, note):
    note(postgres_instance.id, postgres_database.name)
    return postgres_database

def test_good(told):
    pass

def test_bad(told):
    with told.connect() as connection:
        connection.execute("CREATE TABLE evidence AS SELECT 'the butler' AS who")
    raise AssertionError("it failed")

@pytest.mark.xfail
def test_expected(told):
    assert False
"""


def kept_on(suite: Suite) -> set[str]:
    """Return the databases of tests on the suite's one server."""
    (server,) = suite.instances()
    return {name for name in databases(conninfo_of(server).dsn()) if name.startswith(CLONE_PREFIX)}


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_a_failed_test_keeps_its_database_and_says_how_to_look_into_it(
    suite: Suite, options: tuple[str, ...]
) -> None:
    suite.write(MIXED)
    said = suite.run(*options, passed=1, failed=1, xfailed=1)
    ways = re.findall(r"dev-postgres-mcp postgres psql (\w+) -- -d (\w+)", said)
    (server,) = suite.instances()
    assert ways == [(server.id, *kept_on(suite))] * 2, "in the report of the test, and at the end"
    assert server.lease.idle_timeout is None
    assert server.lease.expires_at is not None
    assert f"until {server.lease.expires_at:%Y-%m-%d %H:%M:%S} UTC" in said
    assert f"dev-postgres-mcp postgres drop {server.id}" in said
    conninfo = conninfo_of(server)
    assert conninfo.password.reveal() not in said
    assert value(conninfo.on(database=ways[0][1]).dsn(), "SELECT who FROM evidence") == "the butler"
    suite.run("-k", "good", passed=1)
    assert suite.instances() == [], "it stays until the next run of the project"


def test_what_somebody_looks_into_outlives_the_next_run(suite: Suite) -> None:
    import psycopg

    suite.write(MIXED)
    suite.run("-k", "bad", failed=1)
    (server,) = suite.instances()
    with psycopg.connect(conninfo_of(server).on(database=kept_on(suite).pop()).dsn()):
        suite.run("-k", "good", passed=1)
        assert [one.id for one in suite.instances()] == [server.id]


def test_never_keeps_nothing_and_always_keeps_everything(suite: Suite) -> None:
    suite.write(MIXED)
    suite.run("--postgres-keep", "never", passed=1, failed=1, xfailed=1)
    assert suite.instances() == []
    said = suite.run("-o", "postgres_keep=always", passed=1, failed=1, xfailed=1)
    assert len(kept_on(suite)) == 3
    assert "test_it.py::test_good: dev-postgres-mcp postgres psql" in said


def test_a_kept_server_serves_the_next_run_under_a_longer_lease(suite: Suite) -> None:
    suite.write(MIXED)
    said = suite.run("--postgres-reuse", passed=1, failed=1, xfailed=1)
    (before,) = suite.instances()
    kept = kept_on(suite)
    assert len(kept) == 1
    assert next(iter(kept)) in said
    suite.run("--postgres-reuse", "-n", "2", "-k", "good", passed=1)
    (after,) = suite.instances()
    assert after.id == before.id
    assert after.lease.expires_at is not None
    assert before.lease.expires_at is not None
    assert after.lease.expires_at > before.lease.expires_at
    assert kept_on(suite) == set(), "what an earlier run has kept is gone"


def test_a_run_that_is_killed_as_a_whole_leaves_a_server_that_ends_by_its_lease(suite: Suite) -> None:
    suite.environment.setenv("DEV_POSTGRES_MCP_PYTEST_IDLE_TIMEOUT", "2s")
    suite.write("""
import time

def test_long(postgres_database, note):
    note(postgres_database.name)
    time.sleep(600)

test_other = test_long
""")
    run = suite.start("-n", "2")
    wait_until(lambda: len(suite.notes()) == 2)
    assert len(suite.instances()) == 1
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    wait_until(suite.is_over, seconds=60)


def test_a_run_that_is_interrupted_drops_its_server(suite: Suite) -> None:
    suite.write("""
import time

def test_long(postgres_database, note):
    note(postgres_database.name)
    time.sleep(600)
""")
    run = suite.start("-n", "1")
    wait_until(lambda: len(suite.notes()) == 1)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    run.communicate(timeout=60)
    assert suite.instances() == []


def test_a_worker_that_dies_takes_nobody_with_it(suite: Suite) -> None:
    suite.write("""
import os, pytest

@pytest.mark.parametrize("n", range(6))
def test_there(postgres_database, postgres_instance, note, n):
    note(postgres_instance.id)
    if n == 1:
        os.kill(os.getpid(), 9)
""")
    suite.run("-n", "2", passed=5, failed=1)
    assert len(set(suite.notes())) == 1
    assert suite.instances() == []
