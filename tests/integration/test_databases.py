"""The session on which databases are made and dropped, against a real server."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import psycopg
import pytest

from dev_postgres_mcp.databases.templates import TemplateKey, ensure_template
from dev_postgres_mcp.errors import DatabaseFailed, LoginFailed
from dev_postgres_mcp.sql.database_client import PsycopgDatabaseSql
from tests.helpers.acts import conninfo_of
from tests.helpers.stages import run_together
from tests.integration.queries import databases, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev_postgres_mcp.model import Conninfo, Instance
    from dev_postgres_mcp.sql.database_client import PsycopgDatabaseSession

pytestmark = pytest.mark.docker

KEY = TemplateKey(digest="abc", run="first")


@pytest.fixture
def server(shop: Instance) -> Conninfo:
    """The maintenance database of a server."""
    return conninfo_of(shop).on(database="postgres")


@pytest.fixture
def session(server: Conninfo) -> Iterator[PsycopgDatabaseSession]:
    """A session on it; what it leaves of templates is gone afterwards."""
    session = PsycopgDatabaseSql(nullcontext).open(server, application="tests")
    yield session
    session.drop_template(KEY.name)
    session.close()


def test_a_template_lets_nobody_in_and_can_be_cloned_at_any_time(
    server: Conninfo, session: PsycopgDatabaseSession
) -> None:
    left: list[psycopg.Connection] = []

    def build(name: str) -> None:
        left.append(psycopg.connect(server.on(database=name).dsn(), autocommit=True))
        left[0].execute("CREATE TABLE item ()")

    assert ensure_template(session, KEY, build)
    with pytest.raises(psycopg.OperationalError, match="not currently accepting connections"):
        psycopg.connect(server.on(database=KEY.name).dsn())
    session.clone("clone", KEY.name)
    assert rows(server.on(database="clone").dsn(), "SELECT * FROM item") == []
    session.drop("clone")
    session.drop("clone")
    left[0].close()
    assert not {KEY.building, "clone"} & databases(server.dsn())


def test_a_template_is_built_once_whoever_wants_it_at_the_same_time(
    server: Conninfo, session: PsycopgDatabaseSession
) -> None:
    built: list[str] = []

    def ensure() -> None:
        another = PsycopgDatabaseSql(nullcontext).open(server, application="tests")
        ensure_template(another, KEY, built.append)
        another.close()

    assert run_together(*[ensure] * 4) == []
    assert built == [KEY.building]


def test_a_rebuild_happens_once_a_run(session: PsycopgDatabaseSession) -> None:
    built: list[str] = []
    second = TemplateKey(digest="abc", run="second", rebuild=True)
    assert [ensure_template(session, key, built.append) for key in (KEY, KEY, second, second)] == [
        True,
        False,
        True,
        False,
    ]


def test_what_fails_to_build_leaves_nothing_and_spoils_no_older_template(
    server: Conninfo, session: PsycopgDatabaseSession
) -> None:
    def fail(_: str) -> None:
        raise ZeroDivisionError

    ensure_template(session, KEY, lambda _: None)
    with pytest.raises(ZeroDivisionError):
        ensure_template(session, TemplateKey(digest="abc", run="second", rebuild=True), fail)
    assert KEY.name in databases(server.dsn())
    assert KEY.building not in databases(server.dsn())


def test_a_session_that_was_lost_is_opened_again(server: Conninfo, session: PsycopgDatabaseSession) -> None:
    everybody = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tests'"
    rows(server.dsn(), everybody)
    with pytest.raises(DatabaseFailed, match="could not list the databases"):
        session.databases()
    assert {one.name for one in session.databases()} == databases(server.dsn())


def test_what_fails_is_said_in_the_servers_words(server: Conninfo, session: PsycopgDatabaseSession) -> None:
    with pytest.raises(
        DatabaseFailed, match='could not create database postgres: database "postgres" already'
    ):
        session.create("postgres")
    with pytest.raises(LoginFailed, match=r'no login to database absent: .*database "absent" does not exist'):
        PsycopgDatabaseSql(nullcontext).connect(server.on(database="absent"))
