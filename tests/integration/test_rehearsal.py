"""A rehearsal tells the truth: what a script does to a real server, what it locks, where it fails."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import psycopg
import pytest

from dev_postgres_mcp.changes import Effect, RowsChanged
from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import Cancelled, DeadlineExceeded, InvalidInput, LoginFailed
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.model import Secret
from dev_postgres_mcp.rehearsals import Position
from tests.helpers.stages import run_together, wait_until
from tests.integration.rehearsing import Database, change_of, lock_on, make_database, summaries

if TYPE_CHECKING:
    from collections.abc import Callable

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Conninfo
    from tests.helpers.stages import DockerStage
    from tests.integration.conftest import Create

pytestmark = pytest.mark.docker

PROMPTLY = 5.0
NUMBERS = count()
PEOPLE = """
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE people (id int PRIMARY KEY, age int, mood mood);
INSERT INTO people SELECT i, i % 90, 'sad' FROM generate_series(1, 1000) i;
"""


@pytest.fixture(scope="module")
def server(program: App) -> Conninfo:
    """One server for all of these tests."""
    conninfo = program.manager.create(build_spec(program.defaults)).conninfo
    assert conninfo is not None
    return conninfo


@pytest.fixture
def people(server: Conninfo) -> Database:
    """A database with a thousand people."""
    database = make_database(server, f"people {next(NUMBERS)}")
    database.execute(PEOPLE)
    return database


def test_a_volatile_default_rewrites_the_table_and_blocks_everybody(people: Database) -> None:
    rehearsal = people.rehearse("ALTER TABLE people ADD COLUMN luck float8 DEFAULT random();")
    assert rehearsal.succeeded
    assert rehearsal.in_transaction
    assert rehearsal.changes.rewritten == ("public.people",)
    assert summaries(rehearsal) == ["added column luck of public.people: double precision DEFAULT random()"]
    lock = lock_on(rehearsal, "public.people")
    assert (lock.mode, lock.statement) == ("AccessExclusiveLock", 0)
    assert lock.blocks_reads
    assert lock.blocks_writes
    assert 0 < lock.seconds < PROMPTLY


def test_a_constant_default_rewrites_nothing(people: Database) -> None:
    rehearsal = people.rehearse("ALTER TABLE people ADD COLUMN luck int NOT NULL DEFAULT 7")
    assert rehearsal.changes.rewritten == ()
    assert rehearsal.changes.rows == ()
    assert summaries(rehearsal) == ["added column luck of public.people: integer NOT NULL DEFAULT 7"]
    assert lock_on(rehearsal, "public.people").blocks_reads


def test_another_type_of_a_column_rewrites_the_table(people: Database) -> None:
    rehearsal = people.rehearse("ALTER TABLE people ALTER COLUMN age TYPE bigint")
    assert rehearsal.changes.rewritten == ("public.people",)
    assert summaries(rehearsal) == ["altered column age of public.people: integer -> bigint"]


def test_a_value_is_added_to_an_enum_without_touching_its_table(people: Database) -> None:
    rehearsal = people.rehearse("ALTER TYPE mood ADD VALUE 'so''so' BEFORE 'happy'")
    assert rehearsal.in_transaction
    change = change_of(rehearsal, "type public.mood")
    assert change.before.startswith("ENUM ('sad', 'happy')")
    assert change.after.startswith("ENUM ('sad', 'so''so', 'happy')")
    assert [lock.relation for lock in rehearsal.locks] == []


def test_an_index_blocks_writes_and_lets_reads_through(people: Database) -> None:
    lock = lock_on(people.rehearse("CREATE INDEX by_age ON people (age)"), "public.people")
    assert (lock.mode, lock.blocks_reads, lock.blocks_writes) == ("ShareLock", False, True)


def test_a_concurrent_index_runs_outside_of_a_transaction(people: Database) -> None:
    people.execute("INSERT INTO people SELECT i, i % 90, 'sad' FROM generate_series(1001, 200000) i")
    rehearsal = people.rehearse("SELECT 1;\nCREATE INDEX CONCURRENTLY by_age ON people (age);")
    assert rehearsal.succeeded
    assert not rehearsal.in_transaction
    assert (
        rehearsal.separate_reason
        == "statement 2 on line 2 (CREATE INDEX CONCURRENTLY) cannot run in a transaction block"
    )
    assert [change.effect for change in rehearsal.changes.schema] == [Effect.ADDED]
    assert not any(lock.blocks_writes for lock in rehearsal.locks if lock.kind == "table")


def test_a_concurrent_index_that_fails_leaves_an_invalid_one_and_says_so(people: Database) -> None:
    rehearsal = people.rehearse("CREATE UNIQUE INDEX CONCURRENTLY by_age ON people (age)")
    assert rehearsal.failure is not None
    assert rehearsal.failure.sqlstate == "23505"
    assert change_of(rehearsal, "index by_age of public.people").after.endswith("INVALID")


def test_a_vacuum_runs_and_a_full_one_rewrites(people: Database) -> None:
    assert people.rehearse("VACUUM people").changes.rewritten == ()
    rehearsal = people.rehearse("VACUUM FULL people")
    assert rehearsal.changes.rewritten == ("public.people",)
    assert rehearsal.changes.schema == ()


def test_a_failing_third_statement_leaves_nothing_and_has_its_place(people: Database) -> None:
    before = people.inspect()
    script = "-- ünicode first\nCREATE TABLE pets (id int);\nUPDATE people SET age = 1;\n  SELECT 'é',\n    nme FROM people;\nDROP TABLE people;"
    rehearsal = people.rehearse(script)
    failure = rehearsal.failure
    assert failure is not None
    assert (failure.index, failure.sqlstate) == (2, "42703")
    assert "nme" in failure.message
    assert "name" not in failure.hint
    assert failure.position == Position(offset=script.index("nme"), line=5, column=5)
    assert [run.index for run in rehearsal.statements] == [0, 1]
    assert not rehearsal.changes
    assert people.inspect().schema == before.schema
    assert people.inspect().row_counts() == before.row_counts()


def test_a_failure_without_a_place_of_its_own_has_that_of_its_statement(people: Database) -> None:
    failure = people.rehearse("SELECT 1;\n\n DELETE FROM people WHERE 1/0 = age; SELECT 2").failure
    assert failure is not None
    assert (failure.sqlstate, failure.position.line, failure.position.column) == ("22012", 3, 2)


def test_a_failure_inside_a_function_says_where(people: Database) -> None:
    failure = people.rehearse("DO $$BEGIN\n PERFORM 1/0; END$$").failure
    assert failure is not None
    assert "line 2 at PERFORM" in failure.context


def test_a_commit_that_fails_is_a_failure_of_no_statement(people: Database) -> None:
    rehearsal = people.rehearse(
        "CREATE TABLE pets (owner int REFERENCES people DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO pets VALUES (-1)"
    )
    assert rehearsal.failure is not None
    assert (rehearsal.failure.index, rehearsal.failure.sqlstate) == (None, "23503")
    assert "-1" in rehearsal.failure.detail
    assert not rehearsal.changes


def test_rows_that_came_went_and_changed_are_counted(people: Database) -> None:
    rehearsal = people.rehearse(
        "UPDATE people SET age = 0 WHERE id <= 10; DELETE FROM people WHERE id > 995;"
        "INSERT INTO people VALUES (2000), (2001)"
    )
    assert rehearsal.changes.rows == (
        RowsChanged(table="public.people", before=1000, after=997, inserted=2, updated=10, deleted=5),
    )
    assert [run.tag for run in rehearsal.statements] == ["UPDATE 10", "DELETE 5", "INSERT 0 2"]
    lock = lock_on(rehearsal, "public.people")
    assert (lock.mode, lock.blocks_reads, lock.blocks_writes) == ("RowExclusiveLock", False, False)


def test_an_update_alone_is_seen_though_the_count_stays(people: Database) -> None:
    (rows,) = people.rehearse("UPDATE people SET age = age + 1").changes.rows
    assert (rows.before, rows.after, rows.updated) == (1000, 1000, 1000)


def test_a_lock_is_held_until_the_transaction_ends(people: Database) -> None:
    rehearsal = people.rehearse("LOCK TABLE people;\nSELECT pg_sleep(0.3);")
    lock = lock_on(rehearsal, "public.people")
    assert lock.statement == 0
    assert 0.3 <= lock.seconds < PROMPTLY
    assert rehearsal.statements[1].seconds >= 0.3
    assert rehearsal.seconds >= 0.3


def test_a_lock_that_is_taken_while_a_statement_runs_is_seen_though_it_fails(people: Database) -> None:
    rehearsal = people.rehearse("DO $$BEGIN LOCK TABLE people; PERFORM pg_sleep(0.3); PERFORM 1/0; END$$")
    assert not rehearsal.succeeded
    assert lock_on(rehearsal, "public.people").seconds > 0.1


def test_what_a_script_makes_itself_is_locked_for_nobody(people: Database) -> None:
    rehearsal = people.rehearse(
        "CREATE TABLE pets (id int PRIMARY KEY); ALTER TABLE pets ADD COLUMN name text"
    )
    assert rehearsal.locks == ()
    assert [change.identity.name for change in rehearsal.changes.schema] == ["public.pets"]


def test_a_script_with_its_own_transactions_is_run_as_it_says(people: Database) -> None:
    rehearsal = people.rehearse(
        "BEGIN;\nCREATE TABLE kept (id int);\nLOCK TABLE people;\nCOMMIT;\n"
        "BEGIN;\nCREATE TABLE not_kept (id int);\nROLLBACK;\nALTER TABLE people ADD COLUMN a int;\n"
    )
    assert rehearsal.succeeded
    assert not rehearsal.in_transaction
    assert [change.identity.name for change in rehearsal.changes.schema] == ["public.kept", "a"]
    assert lock_on(rehearsal, "public.people").statement == 2


def test_a_script_that_ends_inside_a_transaction_did_not_work(people: Database) -> None:
    rehearsal = people.rehearse("BEGIN;\nDROP TABLE people;\n")
    assert rehearsal.failure is not None
    assert rehearsal.failure.index is None
    assert "COMMIT" in rehearsal.failure.hint
    assert not rehearsal.changes


def test_what_ran_apart_before_a_failure_stays_and_is_said(people: Database) -> None:
    rehearsal = people.rehearse("ALTER TABLE people ADD COLUMN a int; VACUUM people; SELECT 1/0; SELECT 2")
    assert rehearsal.failure is not None
    assert rehearsal.failure.index == 2
    assert summaries(rehearsal) == ["added column a of public.people: integer"]
    assert lock_on(rehearsal, "public.people").mode == "AccessExclusiveLock"


@pytest.mark.parametrize(
    "statement",
    [
        "REINDEX TABLE parts",
        "ALTER SYSTEM SET work_mem = '5MB'",
        'CREATE DATABASE "an\'other"',
        "DISCARD ALL",
        "DROP INDEX CONCURRENTLY parts_id_idx",
    ],
)
def test_a_statement_that_refuses_a_transaction_runs_alone(people: Database, statement: str) -> None:
    people.execute("CREATE TABLE parts (id int) PARTITION BY RANGE (id); CREATE INDEX ON parts (id)")
    if "INDEX CONC" in statement:
        people.execute("DROP TABLE parts; CREATE TABLE parts (id int); CREATE INDEX ON parts (id)")
    rehearsal = people.rehearse(f"VACUUM people; {statement};")
    assert rehearsal.failure is None
    assert [run.index for run in rehearsal.statements] == [0, 1]
    if "DATABASE" in statement:
        people.execute('DROP DATABASE "an\'other"')


def test_a_procedure_that_commits_runs_in_a_script_of_separate_statements(people: Database) -> None:
    script = "CREATE PROCEDURE p() LANGUAGE plpgsql AS $$BEGIN DELETE FROM people; COMMIT; END$$; CALL p()"
    failure = people.rehearse(script).failure
    assert failure is not None
    assert (failure.index, failure.sqlstate) == (1, "2D000")
    rehearsal = people.rehearse(f"VACUUM people; {script}")
    assert rehearsal.succeeded
    assert rehearsal.changes.rows[0].after == 0


@pytest.mark.parametrize("script", ["", " \n", "-- nothing\n/* at all */;;"])
def test_a_script_of_nothing_changes_nothing(people: Database, script: str) -> None:
    rehearsal = people.rehearse(script)
    assert rehearsal.succeeded
    assert (rehearsal.statements, rehearsal.locks, bool(rehearsal.changes)) == ((), (), False)


def test_hostile_names_come_through_whole(people: Database) -> None:
    people.execute('CREATE SCHEMA "a.b"; CREATE TABLE "a.b"."t""; DROP TABLE people;--" ("c\'%s" int)')
    rehearsal = people.rehearse(
        'ALTER TABLE "a.b"."t""; DROP TABLE people;--" ALTER "c\'%s" TYPE bigint;\n'
        'INSERT INTO "a.b"."t""; DROP TABLE people;--" VALUES (1)'
    )
    name = '"a.b"."t""; DROP TABLE people;--"'
    assert rehearsal.succeeded
    assert rehearsal.changes.rewritten == (name,)
    assert summaries(rehearsal) == [f'altered column "c\'%s" of {name}: integer -> bigint']
    assert rehearsal.changes.rows[0].table == name
    assert lock_on(rehearsal, name).blocks_reads


def test_a_script_of_many_statements_is_done_in_time(people: Database) -> None:
    script = "".join(f"INSERT INTO people VALUES ({i}, 1, 'sad');\n" for i in range(2000, 12_000))
    rehearsal = people.rehearse(script)
    assert rehearsal.changes.rows[0].inserted == 10_000
    assert rehearsal.statements[-1].line == 10_000
    assert lock_on(rehearsal, "public.people").seconds > 0


def test_notices_are_kept_with_their_statement(people: Database) -> None:
    rehearsal = people.rehearse(
        "SELECT 1; DROP TABLE IF EXISTS none; DO $$BEGIN RAISE WARNING 'mind this'; END$$"
    )
    assert [run.notices for run in rehearsal.statements] == [
        (),
        ('NOTICE: table "none" does not exist, skipping',),
        ("WARNING: mind this",),
    ]


@pytest.mark.parametrize(
    "script",
    [
        "SET statement_timeout = '50ms'; LOCK TABLE people; SELECT 1; SELECT 2",
        "SET search_path = ''; SET ROLE pg_monitor; SELECT 1; RESET ROLE",
        "LOCK TABLE pg_class, pg_locks IN ACCESS SHARE MODE; SELECT 1",
        "LOCK TABLE pg_class; SELECT 1; LOCK TABLE people; SELECT 2",
        "SET client_min_messages = debug5; SET log_statement = 'all'; SELECT 1",
    ],
)
def test_looking_does_not_get_in_the_way_of_the_script(people: Database, script: str) -> None:
    started = time.monotonic()
    rehearsal = people.rehearse(script)
    assert rehearsal.failure is None
    assert time.monotonic() - started < PROMPTLY


def test_what_only_psql_understands_is_refused_before_anything_runs(people: Database) -> None:
    with pytest.raises(InvalidInput, match="line 2"):
        people.rehearse("DROP TABLE people;\n\\i next.sql")
    assert people.value("SELECT count(*) FROM people") == 1000


def wait_for_session(database: Database, pattern: str) -> None:
    """Wait until a session in the database runs a statement like that."""
    patience = Deadline(20)
    busy = f"query ~ '{pattern}' AND datname = current_database() AND pid <> pg_backend_pid()"
    while database.value(f"SELECT count(*) FROM pg_stat_activity WHERE {busy}") == 0:
        patience.check("waiting for the long statement")


def sessions_of(database: Database) -> object:
    return database.value(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


@pytest.mark.parametrize(
    "script",
    [
        "DROP TABLE people;\nSELECT pg_sleep(600)",
        "DROP TABLE people;\nDO $$BEGIN LOOP END LOOP; END$$",
        "BEGIN; DROP TABLE people;\nSELECT pg_sleep(600); COMMIT",
    ],
)
def test_a_cancel_cuts_a_long_statement_and_leaves_nothing(people: Database, script: str) -> None:
    deadline = Deadline(600)
    cancelled: list[float] = []

    def cancel() -> None:
        wait_for_session(people, "(pg_sleep|LOOP)")
        cancelled.append(time.monotonic())
        deadline.cancel()

    raised = run_together(lambda: people.rehearse(script, deadline=deadline), cancel)
    assert [type(error) for error in raised] == [Cancelled]
    assert "line 2" in str(raised[0])
    assert time.monotonic() - cancelled[0] < PROMPTLY
    assert people.value("SELECT count(*) FROM people") == 1000
    assert sessions_of(people) == 0


def test_a_cancel_is_heard_though_the_server_answers_nothing(stage: DockerStage, create: Create) -> None:
    instance = create()
    assert instance.conninfo is not None
    database, deadline = Database(conninfo=instance.conninfo), Deadline(600)
    cancelled: list[float] = []

    def freeze() -> None:
        wait_for_session(database, "pg_sleep")
        stage.pause(instance.container_id)
        cancelled.append(time.monotonic())
        deadline.cancel()

    raised = run_together(lambda: database.rehearse("SELECT pg_sleep(600)", deadline=deadline), freeze)
    assert [type(error) for error in raised] == [Cancelled]
    assert time.monotonic() - cancelled[0] < PROMPTLY


def test_a_deadline_that_passes_ends_a_script_that_waits_for_a_lock(people: Database) -> None:
    started = time.monotonic()
    with psycopg.connect(people.conninfo.dsn()) as holder:
        holder.execute("SELECT FROM people")
        with pytest.raises(DeadlineExceeded, match="running statement 1 of 1") as raised:
            people.rehearse("ALTER TABLE people ADD COLUMN a int", deadline=Deadline(1))
        holder.rollback()
    assert "waits for" in raised.value.hint
    assert time.monotonic() - started < PROMPTLY
    assert "column a of public.people" not in people.definitions()


def test_a_cancel_that_came_before_starts_nothing(people: Database) -> None:
    deadline = Deadline(60)
    deadline.cancel()
    with pytest.raises(Cancelled):
        people.rehearse("DROP TABLE people", deadline=deadline)
    assert people.value("SELECT count(*) FROM people") == 1000


def test_a_script_that_ends_its_own_session_is_a_failure_with_the_servers_words(people: Database) -> None:
    rehearsal = people.rehearse("DROP TABLE people; SELECT pg_terminate_backend(pg_backend_pid()); SELECT 1")
    assert rehearsal.failure is not None
    assert (rehearsal.failure.index, rehearsal.failure.sqlstate) == (1, "57P01")
    assert not rehearsal.changes


def test_a_wrong_password_is_no_way_in_and_is_not_shown(people: Database) -> None:
    wrong = Database(conninfo=_with_password(people.conninfo, "s3cret"))
    with pytest.raises(LoginFailed) as raised:
        wrong.rehearse("SELECT 1")
    assert "s3cret" not in raised.value.explain()


def _with_password(conninfo: Conninfo, password: str) -> Conninfo:
    return replace(conninfo, password=Secret(password))


def test_several_rehearsals_at_once_do_not_mix_and_leave_no_thread(server: Conninfo) -> None:
    databases = [make_database(server, f"at once {number}") for number in range(4)]
    threads = threading.active_count()

    def check(number: int) -> Callable[[], None]:
        def run() -> None:
            rehearsal = databases[number].rehearse(f"CREATE TABLE t{number} (id int); SELECT pg_sleep(0.1)")
            assert summaries(rehearsal)[0].startswith(f"added table public.t{number}")

        return run

    assert run_together(*(check(number) for number in range(4))) == []
    # A timer that is cancelled takes a moment to end.
    wait_until(lambda: threading.active_count() <= threads, seconds=2)
