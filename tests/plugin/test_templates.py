"""Templates are built once for what they are made of, and what is broken never becomes one."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.databases.templates import BUILDING_PREFIX, TEMPLATE_PREFIX
from tests.helpers.acts import conninfo_of
from tests.helpers.stages import wait_until
from tests.integration.queries import databases
from tests.plugin.suites import NOTE

if TYPE_CHECKING:
    from tests.plugin.suites import Suite

pytestmark = pytest.mark.docker

COUNT = """
import pytest

@pytest.mark.parametrize("n", range(8))
def test_there(postgres_database, postgres_instance, note, n):
    with postgres_database.connect() as connection:
        names = connection.execute("SELECT name FROM item ORDER BY id").fetchall()
    note(postgres_instance.id, *(name for (name,) in names))
"""
BUILD = """
import os, psycopg
print("built", os.environ["PGDATABASE"], file=open("built", "a"))
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    connection.execute(open("schema.sql").read())
"""
COMMAND = f"cmd:{sys.executable} build.py"
SCHEMA = "CREATE TABLE item (id serial PRIMARY KEY, name text); INSERT INTO item (name) VALUES ('MARK');"


def databases_of(suite: Suite) -> set[str]:
    """Return the names of the databases on the suite's one server."""
    (server,) = suite.instances()
    return databases(conninfo_of(server).dsn())


def test_a_template_is_built_once_for_all_workers_and_runs_until_an_input_changes(suite: Suite) -> None:
    suite.write(COUNT, build__py=BUILD, schema__sql=SCHEMA)
    options = ("--postgres-template", COMMAND, "--postgres-template-input", "*.sql")
    suite.run("-n", "2", *options, passed=8)
    suite.run(*options, passed=8)
    assert len(suite.notes("built")) == 1
    assert len({line.split()[0] for line in suite.notes()}) == 2, "each run had a server of its own"
    suite.write(COUNT, schema__sql=SCHEMA + "INSERT INTO item (name) VALUES ('new');")
    suite.run(*options, passed=8)
    assert len(suite.notes("built")) == 2
    assert suite.notes()[-1].endswith(f"{suite.stage.session} new")
    suite.run(*options, "--postgres-rebuild-template", passed=8)
    assert len(suite.notes("built")) == 3
    assert len(suite.snapshots()) == 2, "what was built anew is in the place of the old one"


def test_in_ci_and_without_named_inputs_a_template_is_built_once_a_run(suite: Suite) -> None:
    suite.write(COUNT, build__py=BUILD, schema__sql=SCHEMA)
    options = ("--postgres-template", COMMAND)
    suite.run("-n", "2", *options, passed=8)
    suite.run(*options, passed=8)
    assert len(suite.notes("built")) == 2, "who knows what a command reads"
    suite.environment.setenv("CI", "true")
    suite.run(*options, "--postgres-template-input", "schema.sql", passed=8)
    assert len(suite.notes("built")) == 3
    assert suite.snapshots() == []


def test_sql_files_migrations_commands_and_callables_are_run_in_the_order_in_which_they_are_written(
    suite: Suite,
) -> None:
    suite.write(
        COUNT,
        pytest__ini=f"""
[pytest]
pythonpath = .
postgres_template =
    schema.sql
    migrations
    cmd:{sys.executable} -c "import psycopg; psycopg.connect('', autocommit=True).execute('INSERT INTO item (name) VALUES (4)')"
    seeds:plant
""",
        schema__sql=SCHEMA,
        seeds__py="""
def plant(database):
    with database.connect() as connection:
        connection.execute("INSERT INTO item (name) VALUES ('5')")
""",
        **{
            "migrations/002__sql": "INSERT INTO item (name) VALUES ('3');",
            "migrations/001__sql": "INSERT INTO item (name) VALUES ('2');",
        },
    )
    suite.run(passed=8)
    assert suite.notes()[0].split()[1:] == [suite.stage.session, "2", "3", "4", "5"]


def test_what_fails_to_build_is_said_with_its_place_and_is_no_template(suite: Suite) -> None:
    broken = "CREATE TABLE item (id serial PRIMARY KEY, name text);\n\nCREATE TABEL other ();"
    suite.write(COUNT, schema__sql=broken)
    options = ("--postgres-template", "schema.sql", "--postgres-reuse", "-k", "0 or 1")
    said = suite.run(*options, errors=2)
    assert "schema.sql:3:8: syntax error at or near" in said
    assert "Traceback" not in said
    assert "servers.py" not in said
    assert not any(name.startswith((TEMPLATE_PREFIX, BUILDING_PREFIX)) for name in databases_of(suite))
    suite.write(COUNT, schema__sql=SCHEMA)
    suite.run(*options, passed=2)
    assert [name for name in databases_of(suite) if name.startswith(TEMPLATE_PREFIX)] != []


def test_a_command_that_fails_is_quoted_with_what_it_said_and_without_the_password(suite: Suite) -> None:
    suite.write(COUNT)
    command = (
        f"cmd:{sys.executable} -c \"import os; print('why', os.environ['PGPASSWORD']); raise SystemExit(3)\""
    )
    said = suite.run("--postgres-template", command, "-k", "0", errors=1)
    assert "ended with exit code 3" in said
    assert "\nwhy ***" in said
    assert suite.instances() == []


def test_a_build_that_was_killed_is_repaired_by_the_next_run(suite: Suite) -> None:
    slow = f"if not os.path.exists('go'):\n    open('begun', 'w'); import time; time.sleep(600)\n{BUILD}"
    suite.write(COUNT, build__py=f"import os\n{slow}", schema__sql=SCHEMA)
    options = ("--postgres-reuse", "--postgres-template", COMMAND, "--postgres-template-input", "schema.sql")
    run = suite.start("-n", "2", *options)
    wait_until((suite.pytester.path / "begun").exists)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert [name for name in databases_of(suite) if name.startswith(BUILDING_PREFIX)] != []
    (suite.pytester.path / "go").touch()
    suite.run(*options, passed=8)
    names = databases_of(suite)
    assert [name for name in names if name.startswith(BUILDING_PREFIX)] == []
    assert len([name for name in names if name.startswith(TEMPLATE_PREFIX)]) == 1


def test_two_checkouts_at_once_build_a_template_once_and_have_a_server_each(suite: Suite) -> None:
    built = suite.pytester.path / "built"
    for name in ("one", "two"):
        files = {
            f"{name}/test_it__py": COUNT,
            f"{name}/conftest__py": NOTE,
            f"{name}/build__py": BUILD.replace('"built", "a"', f'{str(built)!r}, "a"'),
            f"{name}/schema__sql": SCHEMA,
            f"{name}/pytest__ini": f"[pytest]\npostgres_template = {COMMAND}\npostgres_template_input = schema.sql",
        }
        suite.write("", **files)
    runs = [suite.start(directory=suite.pytester.path / name) for name in ("one", "two")]
    said = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert len(suite.notes("built")) == 1
    assert suite.instances() == []
