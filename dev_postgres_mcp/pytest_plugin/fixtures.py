"""The fixtures.  What goes wrong in them is said in a few lines, without a traceback of ours."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.pytest_plugin.keeping import FAILED, HELD, wants_to_keep
from dev_postgres_mcp.pytest_plugin.running import RUN, build_app, make_plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev_postgres_mcp.databases import Database
    from dev_postgres_mcp.databases.cloning import Clones
    from dev_postgres_mcp.model import Instance


@pytest.fixture(scope="session")
def postgres_clones(pytestconfig: pytest.Config) -> Iterator[Clones]:
    """Where this process makes its databases; for fixtures of your own that need several or wider scopes."""
    run = pytestconfig.stash[RUN]
    with _failing_clearly():
        app = build_app(run)
        run.sign.touch()
        clones = app.servers.open(make_plan(app, run, pytestconfig.rootpath))
    yield clones
    clones.close()
    app.close()


@pytest.fixture(scope="session")
def postgres_instance(postgres_clones: Clones) -> Instance:
    """The PostgreSQL server of this test run, the same for all workers of pytest-xdist."""
    return postgres_clones.instance


@pytest.fixture
def postgres_database(request: pytest.FixtureRequest, postgres_clones: Clones) -> Iterator[Database]:
    """A database of this test's own, cloned from the template; gone with the test, unless it is kept."""
    item: pytest.Item = request.node
    with _failing_clearly():
        database = postgres_clones.create()
    if FAILED in item.stash:  # by an earlier attempt of a plugin that runs failed tests again
        del item.stash[FAILED]
    item.stash[HELD] = (postgres_clones, database)
    yield database
    if wants_to_keep(item):
        return
    del item.stash[HELD]
    with _failing_clearly():
        postgres_clones.drop(database)


@pytest.fixture
def postgres_dsn(postgres_database: Database) -> str:
    """The libpq URI of this test's own database."""
    return postgres_database.dsn


@contextmanager
def _failing_clearly() -> Iterator[None]:
    from dev_postgres_mcp.errors import DevPostgresError

    try:
        yield
    except DevPostgresError as exc:
        text = f"postgres: {exc.explain()}"
        raise pytest.fail.Exception(text, pytrace=False) from None
