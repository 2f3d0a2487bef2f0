"""A command with an instance of its own: found in its environment, gone when it has ended, whatever ended it."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.acceptance.program import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.program import Program

pytestmark = [pytest.mark.wheel, pytest.mark.docker]
posix = pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: no such signals there")

RUN = ("postgres", "run")
SHOW = """
import json, os, psycopg
variables = {name: os.environ[name] for name in os.environ if name.startswith("PG") or name == "DATABASE_URL"}
answers = [psycopg.connect(conninfo).execute("SELECT current_database()").fetchone()[0]
    for conninfo in ("", os.environ["DATABASE_URL"])]
print(json.dumps([variables, answers]))
"""
STAY = """
import os, pathlib, time
pathlib.Path("up").write_text(os.environ["DATABASE_URL"])
print("up", flush=True)
time.sleep(600)
"""
GRACEFUL = """
import signal, sys
def note(number, frame):
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM:
        sys.exit(7)
for name in ("SIGHUP", "SIGINT", "SIGTERM"):
    signal.signal(signal.Signals[name], note)
print("up", flush=True)
while True:
    signal.pause()
"""


def is_gone(program: Program) -> bool:
    """Whether the instance that the command wrote down takes no connections."""
    try:
        psycopg.connect((program.directory / "up").read_text(encoding="utf-8"))
    except psycopg.OperationalError:
        return True
    return False


def test_a_command_finds_its_instance_in_its_environment_and_nothing_is_left(
    program: Program, left: Callable[[], list[str]]
) -> None:
    mine = program.having(PGPORT="1", PGSERVICE="theirs", DATABASE_URL="theirs")
    done = mine.run(*RUN, "--database", "shop", "--", sys.executable, "-c", SHOW)
    variables, answers = json.loads(done.stdout)
    assert sorted(variables) == ["DATABASE_URL", "PGDATABASE", "PGHOST", "PGPASSWORD", "PGPORT", "PGUSER"]
    assert answers == ["shop", "shop"]
    assert done.stderr.startswith("starting")
    assert variables["PGPASSWORD"] not in done.stderr
    assert left() == []


def test_options_of_a_create_shape_the_instance_and_quiet_is_silent(
    program: Program, left: Callable[[], list[str]]
) -> None:
    (program.directory / "schema.sql").write_text("CREATE TABLE fruit (name text)", encoding="utf-8")
    look = (
        "import psycopg; run = psycopg.connect('').execute; "
        "print(*(run(q).fetchone()[0] for q in ('SHOW work_mem', 'SELECT count(*) FROM fruit')))"
    )
    shape = ("--init", "schema.sql", "-c", "work_mem=7MB", "--username", "boss", "-q")
    done = program.run(*RUN, *shape, "--", sys.executable, "-c", look)
    assert (done.stdout, done.stderr) == ("7MB 0\n", "")
    assert left() == []


@posix
def test_the_exit_code_is_the_commands_own(program: Program, left: Callable[[], list[str]]) -> None:
    assert program.run(*RUN, "--", "sh", "-c", "echo out; exit 42", code=42).stdout == "out\n"
    program.run(*RUN, "--", "sh", "-c", "kill -9 $$", code=128 + signal.SIGKILL)
    assert left() == []


def test_stdin_and_stdout_are_the_commands_own(program: Program) -> None:
    echo = "import sys; sys.stdout.write(sys.stdin.read())"
    assert program.run(*RUN, "-q", "--", sys.executable, "-c", echo, stdin="in\n").stdout == "in\n"


def test_a_command_that_is_not_there_costs_no_instance(
    program: Program, left: Callable[[], list[str]]
) -> None:
    done = program.run(*RUN, "--", "no-such-program", code=2)
    assert "there is no program 'no-such-program' to run" in done.stderr
    assert "starting" not in done.stderr
    assert "COMMAND" in program.run(*RUN, code=2).stderr
    assert left() == []


def test_without_an_engine_nothing_is_run(offline: Program) -> None:
    done = offline.run(*RUN, "--", sys.executable, "-c", "print('ran')", code=4)
    assert done.stdout == ""


@posix
@pytest.mark.parametrize(
    "keep, code, kept",
    [("never", 1, False), ("on-failure", 0, False), ("on-failure", 3, True), ("always", 0, True)],
)
def test_an_instance_is_kept_on_request_and_says_how_to_go_on(
    program: Program, left: Callable[[], list[str]], keep: str, code: int, kept: bool
) -> None:
    done = program.run(*RUN, "--keep", keep, "--", "sh", "-c", f"exit {code}", code=code)
    assert ("kept " in done.stderr) is bool(left()) is kept
    if kept:
        word, found = done.stderr.splitlines()[-3].split()
        assert word == "kept"
        connect, drop = (line.partition(": ")[2].strip() for line in done.stderr.splitlines()[-2:])
        url = program.run(*connect.partition("$(")[2].partition(")")[0].split()[1:]).stdout.strip()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert drop == f"dev-postgres-mcp postgres drop {found}"
        program.run(*drop.split()[1:])
        assert left() == []


@posix
@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_ends_the_command_and_drops_the_instance(
    program: Program, left: Callable[[], list[str]], how: str
) -> None:
    with program.start(*RUN, "--", sys.executable, "-c", STAY) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.Signals[how])
        process.communicate()
    assert process.returncode == 128 + signal.Signals[how]
    assert left() == []
    assert is_gone(program)


@posix
def test_each_signal_is_the_commands_to_answer(program: Program, left: Callable[[], list[str]]) -> None:
    with program.start(*RUN, "--", sys.executable, "-c", GRACEFUL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        for how in ("SIGHUP", "SIGINT", "SIGHUP", "SIGTERM"):
            process.send_signal(signal.Signals[how])
            assert process.stdout.readline() == f"{how}\n"
        process.communicate()
    assert process.returncode == 7
    assert left() == []


@posix
@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_while_the_instance_is_made_leaves_none_and_runs_nothing(
    program: Program, left: Callable[[], list[str]], how: str
) -> None:
    with program.start(*RUN, "--", "sh", "-c", "echo ran") as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("starting")
        process.send_signal(signal.Signals[how])
        data, talk = process.communicate()
    assert (process.returncode, data) == (128 + signal.Signals[how], "")
    assert "Traceback" not in talk
    assert left() == []


@posix
def test_ctrl_c_at_a_terminal_is_the_commands_to_answer(
    program: Program, left: Callable[[], list[str]]
) -> None:
    with program.on_terminal(*RUN, "--", sys.executable, "-i", "-c", "import time") as terminal:
        terminal.expect(">>> ")
        terminal.enter("print(6 * 7); time.sleep(600)\n")
        terminal.expect("42")
        terminal.enter("\x03")
        terminal.expect("KeyboardInterrupt")
        assert len(left()) == 1
        terminal.enter("print(40 * 40); exit(3)\n")
        terminal.expect("1600")
        assert terminal.finish() == 3
    assert left() == []


@posix
def test_ctrl_c_at_a_terminal_ends_a_command_that_minds_it(
    program: Program, left: Callable[[], list[str]]
) -> None:
    with program.on_terminal(*RUN, "--", "sh", "-c", "echo up; exec sleep 600") as terminal:
        terminal.expect("up")
        terminal.enter("\x03")
        assert terminal.finish() == 128 + signal.SIGINT
    assert "Traceback" not in terminal.screen
    assert left() == []


@posix
def test_what_a_killed_run_leaves_ends_by_its_lease(program: Program, left: Callable[[], list[str]]) -> None:
    stay = f"import os; print(os.getpid(), flush=True)\n{STAY}"
    with program.start(*RUN, "--", sys.executable, "-c", stay) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert process.stdout.readline() == "up\n"
        process.kill()
        process.wait(PATIENCE)
        os.kill(child, signal.SIGKILL)
    (name,) = left()
    view = program.run("postgres", "get", name, "--format", "json").data
    assert view["idle_timeout"] == 3600
    assert view["expires_at"] is not None


@pytest.fixture
def project(program: Program) -> Path:
    """A work tree of git, in which the program is started."""
    program.named("git").run("init", "-q", ".")
    return program.directory


def test_variables_are_written_into_a_dotenv_file_that_keeps_the_rest(
    program: Program, project: Path
) -> None:
    file = project / ".env"
    file.write_bytes(b"# mine\r\nTOKEN='a b'\r\nDATABASE_URL=old # here\r\n")
    file.chmod(0o600)
    (project / ".gitignore").write_text(".env\n", encoding="utf-8")
    made = program.run("postgres", "create", "--format", "json").data
    done = program.run("postgres", "write-env", made["id"])
    assert (done.stdout, "warning" in done.stderr) == ("", False)
    assert made["password"] not in done.stderr
    lines = file.read_bytes().decode().split("\r\n")
    assert lines[:3] == ["# mine", "TOKEN='a b'", f"DATABASE_URL={made['dsn']} # here"]
    assert f"PGPASSWORD={made['password']}" in lines
    with psycopg.connect(lines[2].partition("=")[2].partition(" ")[0]) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@posix
def test_a_dotenv_file_that_others_may_see_is_warned_of(program: Program, project: Path) -> None:
    made = program.run("postgres", "create", "--format", "json").data
    done = program.run("postgres", "write-env", made["id"], "test.env")
    assert "warning: git does not ignore test.env" in done.stderr
    assert "can read" not in done.stderr, "a new one is its owner's alone"
    (project / "test.env").chmod(0o644)
    done = program.run("postgres", "write-env", made["id"], "test.env")
    assert "warning: other users can read test.env" in done.stderr
    (project / ".git").rename(project / "no-git")
    assert "git" not in program.run("postgres", "write-env", made["id"], "test.env").stderr
    assert program.run("postgres", "write-env", made["id"], "test.env", "-q").stderr == ""
    read = ". ./test.env; echo $DATABASE_URL"
    assert program.named("sh").run("-c", read).stdout == f"{made['dsn']}\n"


def test_a_place_that_cannot_be_written_to_is_told(program: Program) -> None:
    made = program.run("postgres", "create", "--format", "json").data
    done = program.run("postgres", "write-env", made["id"], "no/such/.env", code=2)
    assert "no/such/.env cannot be written" in done.stderr
    assert "hint: " in done.stderr
    assert program.run("postgres", "write-env", "nobody", code=3).stdout == ""
