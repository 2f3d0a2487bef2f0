"""Trying things where they cannot harm: a command on a branch, and a migration rehearsed."""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.acceptance.data import execute, fetch, fruit, stock
from tests.acceptance.wire import RawSession, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.program import Program

pytestmark = [pytest.mark.wheel, pytest.mark.docker]
posix = pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: no such signals there")

FORM = ("--format", "json")
ALL = ["apple", "mango", "melon"]
SHOW = """
import json, os
print(json.dumps({name: os.environ[name] for name in os.environ if name.startswith("PG") or name == "DATABASE_URL"}))
"""
CHANGE = """
import psycopg
with psycopg.connect("", autocommit=True) as connection:
    connection.execute("DELETE FROM fruit WHERE price > 1")
    connection.execute("ALTER TABLE fruit ADD COLUMN color text")
    connection.execute("CREATE TABLE trees (name text)")
"""
STAY = """
import os, pathlib, time
pathlib.Path("up").write_text(os.environ["DATABASE_URL"])
print("up", flush=True)
time.sleep(600)
"""
MIGRATION = """\
-- what a tool has written
ALTER TABLE fruit ADD COLUMN color text NOT NULL DEFAULT 'green';
UPDATE fruit SET color = 'red' WHERE price > 1;
CREATE INDEX fruit_color ON fruit (color);
"""
FAILING = """\
ALTER TABLE fruit ADD COLUMN color text;
UPDATE fruit SET color = 'red';

ALTER TABLE fruit
    ADD COLUMN color text;
CREATE TABLE never ();
"""


@pytest.fixture
def shop(instance: dict[str, Any]) -> dict[str, Any]:
    """An instance with a table."""
    stock(instance)
    return instance


@pytest.fixture
def only_shop(shop: dict[str, Any], left: Callable[[], list[str]]) -> Callable[[], bool]:
    """Whether nothing is there but the instance."""
    return lambda: left() == [f"mcp-postgres-{shop['id']}"]


def attempt(shop: dict[str, Any], *command: str) -> tuple[str, ...]:
    """Return the arguments that try a command on a branch."""
    return ("postgres", "try", shop["id"], "--", *command)


def test_a_tried_command_finds_a_branch_in_its_environment_and_nothing_of_the_instance(
    program: Program, shop: dict[str, Any], only_shop: Callable[[], bool]
) -> None:
    mine = program.having(PGPORT="1", PGSERVICE="theirs", PGOPTIONS="-c work_mem=1MB")
    done = mine.run(*attempt(shop, sys.executable, "-c", SHOW))
    given = json.loads(done.stdout)
    assert sorted(given) == ["DATABASE_URL", "PGDATABASE", "PGHOST", "PGPASSWORD", "PGPORT", "PGUSER"]
    assert given["DATABASE_URL"] == (
        f"postgresql://{given['PGUSER']}:{given['PGPASSWORD']}@{given['PGHOST']}:{given['PGPORT']}/{given['PGDATABASE']}"
    )
    assert given["PGPORT"] != str(shop["port"])
    assert given["PGPASSWORD"] != shop["password"]
    assert done.stderr.endswith("nothing changed\n")
    assert given["PGPASSWORD"] not in done.stderr
    assert only_shop()


def test_what_a_tried_command_changed_is_told_and_gone(
    program: Program, shop: dict[str, Any], only_shop: Callable[[], bool]
) -> None:
    done = program.run(*attempt(shop, sys.executable, "-c", CHANGE))
    assert done.stdout == ""
    changes = done.stderr.partition("what changed:\n")[2].splitlines()
    assert "  added column color of public.fruit: text" in changes
    assert "  added table public.trees" in changes
    assert "    +   column name text" in changes
    assert "  public.fruit: 3 -> 1 rows (2 deleted)" in changes
    assert fruit(shop) == ALL
    assert only_shop()
    quiet = program.run("postgres", "try", shop["id"], "-q", "--", sys.executable, "-c", CHANGE)
    assert (quiet.stdout, quiet.stderr) == ("", "")


@posix
def test_the_exit_code_is_the_commands_own(
    program: Program, shop: dict[str, Any], only_shop: Callable[[], bool]
) -> None:
    assert program.run(*attempt(shop, "sh", "-c", "echo out; exit 42"), code=42).stdout == "out\n"
    program.run(*attempt(shop, "sh", "-c", "kill -9 $$"), code=128 + signal.SIGKILL)
    assert only_shop()


def test_a_command_that_is_not_there_costs_no_branch(
    program: Program, shop: dict[str, Any], only_shop: Callable[[], bool]
) -> None:
    done = program.run(*attempt(shop, "no-such-program"), code=2)
    assert "there is no program 'no-such-program' to run" in done.stderr
    assert "freezing" not in done.stderr
    assert "hint: " in done.stderr
    assert "COMMAND" in program.run("postgres", "try", shop["id"], code=2).stderr
    assert only_shop()


def test_a_branch_is_kept_on_request(program: Program, shop: dict[str, Any]) -> None:
    command = ("postgres", "try", shop["id"], "--keep", "--ttl", "2h", "--", sys.executable, "-c", CHANGE)
    kept, connect, drop = program.run(*command).stderr.splitlines()[-3:]
    word, found = kept.split()
    assert word == "kept"
    assert f'psql "$(dev-postgres-mcp postgres get {found} --format url)"' in connect
    assert f"dev-postgres-mcp postgres drop {found}" in drop
    branch = program.run("postgres", "get", found, *FORM).data
    assert fruit(branch) == ["apple"]
    assert fruit(shop) == ALL


@posix
@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_ends_the_tried_command_and_drops_the_branch(
    program: Program, shop: dict[str, Any], only_shop: Callable[[], bool], how: str
) -> None:
    with program.start(*attempt(shop, sys.executable, "-c", STAY)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.Signals[how])
        _, talk = process.communicate()
    assert process.returncode == 128 + signal.Signals[how], "what the command made of it"
    assert talk.count("Traceback") == (how == "SIGINT"), "the command's own, if any"
    assert only_shop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect((program.directory / "up").read_text(encoding="utf-8"))


@posix
@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT"])
def test_a_signal_while_the_branch_is_made_leaves_none(
    program: Program, shop: dict[str, Any], only_shop: Callable[[], bool], how: str
) -> None:
    with program.start(*attempt(shop, "true")) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("freezing")
        process.send_signal(signal.Signals[how])
        _, talk = process.communicate()
    assert process.returncode == 128 + signal.Signals[how]
    assert "Traceback" not in talk
    assert only_shop()
    assert fruit(shop) == ALL


@posix
def test_ctrl_c_at_a_terminal_reaches_the_tried_command_and_drops_the_branch(
    program: Program, shop: dict[str, Any], only_shop: Callable[[], bool]
) -> None:
    with program.on_terminal(*attempt(shop, "sh", "-c", "echo up; exec sleep 600")) as terminal:
        terminal.expect("up")
        terminal.enter("\x03")
        assert terminal.finish() == 128 + signal.SIGINT
    assert "Traceback" not in terminal.screen
    assert "nothing changed" in terminal.screen
    assert only_shop()


@posix
def test_ctrl_c_is_the_tried_commands_to_answer_as_under_a_shell(
    program: Program, shop: dict[str, Any], only_shop: Callable[[], bool]
) -> None:
    # As psql, this one ends what it is doing and asks for the next line.
    with program.on_terminal(*attempt(shop, sys.executable, "-i", "-c", "import time")) as terminal:
        terminal.expect(">>> ")
        terminal.enter("print(6 * 7); time.sleep(600)\n")
        terminal.expect("42")
        terminal.enter("\x03")
        terminal.expect("KeyboardInterrupt")
        terminal.enter("print(40 * 40); exit(3)\n")
        terminal.expect("1600")
        assert terminal.finish() == 3
    assert "Traceback" in terminal.screen, "the command's own"
    assert "nothing changed" in terminal.screen
    assert only_shop()


def test_a_rehearsal_tells_all_and_touches_nothing(
    program: Program, shop: dict[str, Any], only_shop: Callable[[], bool]
) -> None:
    (program.directory / "up.sql").write_text(MIGRATION, encoding="utf-8")
    done = program.run("postgres", "rehearse", shop["id"], "up.sql")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["LINE", "SECONDS", "RESULT", "STATEMENT"]
    assert [line.split()[0] for line in lines[1:4]] == ["2", "3", "4"]
    assert "UPDATE 2" in lines[2]
    assert lines[4].split() == ["LOCKED", "MODE", "SECONDS", "BLOCKS"]
    assert any(line.startswith("public.fruit  AccessExclusiveLock") for line in lines[5:])
    assert ", in one transaction\n" in done.stderr
    assert "  added column color of public.fruit: text NOT NULL DEFAULT 'green'::text\n" in done.stderr
    assert f"{shop['id']} was not touched" in done.stderr
    data = program.run("postgres", "rehearse", shop["id"], "-", *FORM, stdin=MIGRATION).data
    assert (data["id"], data["applied"], data["rehearsal"]["succeeded"]) == (shop["id"], None, True)
    quiet = program.run("postgres", "rehearse", shop["id"], "up.sql", "-q")
    assert (quiet.stdout, quiet.stderr) == ("", "")
    assert only_shop()
    assert fetch(
        shop, "SELECT attname::text FROM pg_attribute WHERE attrelid = 'fruit'::regclass AND attnum > 0"
    ) == [
        "name",
        "price",
    ]


def test_a_rehearsal_that_went_well_is_applied_on_request(
    program: Program, shop: dict[str, Any], only_shop: Callable[[], bool]
) -> None:
    rehearse = ("postgres", "rehearse", shop["id"], "-", "--apply")
    data = program.run(*rehearse, *FORM, stdin=MIGRATION).data
    assert data["rehearsal"]["succeeded"] is data["applied"]["succeeded"] is True
    assert fetch(shop, "SELECT color FROM fruit ORDER BY name") == ["green", "red", "red"]
    again = program.run(*rehearse, stdin=MIGRATION, code=1)
    assert "rehearsed: failed at line 2, column" in again.stderr
    assert 'column "color" of relation "fruit" already exists (42701)' in again.stderr
    assert f"{shop['id']} was not touched" in again.stderr
    assert only_shop()


def test_a_failing_statement_is_told_by_its_place_and_nothing_is_applied(
    program: Program, shop: dict[str, Any], only_shop: Callable[[], bool]
) -> None:
    done = program.run("postgres", "rehearse", shop["id"], "-", "--apply", stdin=FAILING, code=1)
    assert "rehearsed: failed at line 4, column 1: " in done.stderr
    assert "in one transaction, rolled back\n" in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:3]] == ["1", "2"]
    data = program.run("postgres", "rehearse", shop["id"], "-", *FORM, stdin=FAILING, code=1).data
    failure = data["rehearsal"]["failure"]
    assert (failure["line"], failure["sqlstate"]) == (4, "42701")
    assert len(data["rehearsal"]["statements"]) == 2
    assert data["rehearsal"]["changes"] == {"schema_changes": [], "rows": [], "rewritten": []}
    assert fruit(shop) == ALL
    assert only_shop()


def test_a_script_that_cannot_be_run_is_refused_before_anything_is_begun(
    program: Program, shop: dict[str, Any], only_shop: Callable[[], bool]
) -> None:
    done = program.run("postgres", "rehearse", shop["id"], "-", stdin="\\d fruit\n", code=2)
    assert "is a command of psql" in done.stderr
    assert "freezing" not in done.stderr
    absent = program.run("postgres", "rehearse", shop["id"], "no-such.sql", code=2)
    assert "no-such.sql cannot be read" in absent.stderr
    assert only_shop()


def test_an_agent_rehearses_and_applies_a_migration(
    program: Program, shop: dict[str, Any], only_shop: Callable[[], bool]
) -> None:
    file = program.directory / "up.sql"
    file.write_text(MIGRATION, encoding="utf-8")
    with RawSession(program) as session:

        def rehearse(**arguments: Any) -> dict[str, Any]:
            return session.call("rehearse_migration", id=shop["id"], **arguments)

        failed = rehearse(sql=FAILING, apply=True)
        assert failed["isError"] is False, "a failing script is an answer, not an error"
        report = failed["structuredContent"]
        assert (report["rehearsal"]["succeeded"], report["applied"]) == (False, None)
        assert report["rehearsal"]["failure"]["line"] == 4
        rehearsed = rehearse(file=str(file))["structuredContent"]
        assert (rehearsed["rehearsal"]["succeeded"], rehearsed["applied"]) == (True, None)
        assert [lock["relation"] for lock in rehearsed["rehearsal"]["locks"]].count("public.fruit") == 1
        assert fruit(shop) == ALL
        assert "color" not in str(fetch(shop, "SELECT row_to_json(fruit)::text FROM fruit"))
        applied = rehearse(sql=MIGRATION, apply=True)["structuredContent"]
        assert applied["applied"]["succeeded"] is True
        assert fetch(shop, "SELECT count(*) FROM fruit WHERE color = 'red'") == [2]
        for arguments, says in (
            ({}, "give the SQL or a file"),
            ({"sql": "SELECT 1", "file": str(file)}, "give the SQL or a file"),
            ({"file": "/no/such.sql"}, "/no/such.sql cannot be read"),
            ({"sql": "\\d"}, "is a command of psql"),
        ):
            refused = rehearse(**arguments)
            assert refused["isError"] is True
            assert says in text_of(refused)
            assert "hint: " in text_of(refused)
    assert only_shop()


def test_a_snapshot_is_tried_on_like_an_instance(program: Program, shop: dict[str, Any]) -> None:
    name = f"before-{shop['id']}"
    program.run("postgres", "snapshot", "take", shop["id"], name)
    execute(shop, "DROP TABLE fruit")
    count = "import psycopg; print(psycopg.connect('').execute('SELECT count(*) FROM fruit').fetchone())"
    done = program.run("postgres", "try", name, "--", sys.executable, "-c", count)
    assert done.stdout.strip() == "(3,)"


def test_a_command_keeps_its_own_words(program: Program, shop: dict[str, Any]) -> None:
    words = ["--keep", "-q", "a b", "--", "--format"]
    echo = (sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", *words)
    assert json.loads(program.run(*attempt(shop, *echo)).stdout) == words
    refused = program.run("postgres", "try", shop["id"], *echo, code=2)
    assert "No such option: -c" in refused.stderr, "what is not behind `--` is ours"
