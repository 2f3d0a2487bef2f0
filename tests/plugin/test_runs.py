"""Whole runs of suites: one server for all, a database for each test, and nothing left at the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.suites import Suite

pytestmark = pytest.mark.docker

SCHEMA = "CREATE TABLE item (id serial PRIMARY KEY, name text); INSERT INTO item (name) VALUES ('MARK');"


def test_two_hundred_tests_on_four_workers_share_a_server_and_no_database(suite: Suite) -> None:
    suite.write(
        """
import pytest

@pytest.mark.parametrize("n", range(200))
def test_alone(postgres_database, postgres_instance, note, n):
    with postgres_database.connect() as connection:
        connection.execute("INSERT INTO item (name) VALUES ('mine')")
        assert connection.execute("SELECT count(*) FROM item").fetchone() == (2,)
    note(postgres_instance.id, postgres_database.name)
""",
        schema__sql=SCHEMA,
    )
    suite.run("-n", "4", "--postgres-template", "schema.sql", passed=200)
    servers, databases = zip(*(line.split() for line in suite.notes()), strict=True)
    assert len(set(servers)) == 1
    assert len(set(databases)) == 200
    assert suite.instances() == [], "it ended with the run"


def test_a_database_without_a_template_is_empty_and_its_dsn_is_a_fixture_too(suite: Suite) -> None:
    suite.write("""
import psycopg

def test_empty(postgres_dsn, postgres_database):
    assert postgres_dsn == postgres_database.dsn
    with psycopg.connect(postgres_dsn) as connection:
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert connection.execute(tables).fetchone() == (0,)
    assert postgres_database.conninfo.password.reveal() not in repr(postgres_database)
""")
    suite.run(passed=1)
    assert suite.instances() == []


def test_each_library_finds_the_database_by_its_rendering(suite: Suite) -> None:
    suite.write("""
import asyncio, os, subprocess, sys
import asyncpg, psycopg, sqlalchemy
from django.conf import settings

QUESTION = "SELECT current_database()"

def test_psycopg(postgres_database):
    with psycopg.connect(**postgres_database.psycopg_kwargs()) as connection:
        assert connection.execute(QUESTION).fetchone() == (postgres_database.name,)

def test_sqlalchemy(postgres_database):
    engine = sqlalchemy.create_engine(postgres_database.sqlalchemy_url())
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text(QUESTION)).scalar() == postgres_database.name

def test_asyncpg(postgres_database):
    async def ask(*where, **how):
        connection = await asyncpg.connect(*where, **how)
        return await connection.fetchval(QUESTION)

    for where, how in (((), postgres_database.asyncpg_kwargs()), ((postgres_database.dsn,), {})):
        assert asyncio.run(ask(*where, **how)) == postgres_database.name

def test_django(postgres_database):
    settings.configure(DATABASES={"default": postgres_database.django_settings()})
    from django.db import connection
    with connection.cursor() as cursor:
        cursor.execute(QUESTION)
        assert cursor.fetchone() == (postgres_database.name,)
    connection.close()

def test_child(postgres_database):
    code = "import psycopg; print(psycopg.connect('').execute('" + QUESTION + "').fetchone()[0])"
    environment = os.environ | postgres_database.environment()
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert answer.stdout.strip() == postgres_database.name
""")
    suite.run(passed=5)


def test_connections_that_a_test_leaves_open_do_not_hold_up_its_end(suite: Suite) -> None:
    suite.write("""
import threading

LEFT = []

def sleep(connection):
    try:
        connection.execute("SELECT pg_sleep(600)")
    except Exception as exc:
        LEFT.append(exc)

def test_hanging(postgres_database):
    LEFT.append(postgres_database.connect())
    LEFT[0].execute("LOCK TABLE pg_class IN SHARE ROW EXCLUSIVE MODE")
    threading.Thread(target=sleep, args=(postgres_database.connect(),), daemon=True).start()

def test_next(postgres_database):
    databases = "SELECT count(*) FROM pg_database WHERE datname LIKE 'pytest_run%'"
    with postgres_database.connect() as connection:
        assert connection.execute(databases).fetchone() == (1,)
""")
    suite.run(passed=2)


def test_what_the_users_environment_says_of_other_databases_is_left_alone_and_reaches_nothing(
    suite: Suite,
) -> None:
    everything = {
        "PGSERVICE": "nowhere",
        "PGTZ": "No/Where",
        "PGDATESTYLE": "nonsense",
        "PGGEQO": "perhaps",
        "PGHOST": "192.0.2.1",
        "PGOPTIONS": "-c no.such=1 -c nonsense",
        "PGSSLMODE": "verify-full",
        "PGPASSFILE": "/no/such/file",
    }
    suite.write(
        f"""
import json, os, subprocess, sys

THERE = {json.dumps(everything)}

def test_connect(postgres_database):
    with postgres_database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM item").fetchone() == (1,)
    assert THERE.items() <= os.environ.items()
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert THERE.items() <= json.loads(child.stdout).items()
""",
        schema__sql=SCHEMA,
    )
    for variable, text in everything.items():
        suite.environment.setenv(variable, text)
    suite.run("--postgres-template", "schema.sql", "--postgres-no-template-cache", passed=1)
