"""The command line on a real engine: what it writes where, and with which exit code."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.helpers.stages import ABSENT_IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.program import Program
    from tests.helpers.stages import DockerStage

pytestmark = [pytest.mark.wheel, pytest.mark.docker]
needs_sh = pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: no sh there")

LISTED = [
    "id",
    "name",
    "container_id",
    "runtime",
    "host",
    "port",
    "database",
    "username",
    "version",
    "dsn",
    "created_at",
    "expires_at",
    "idle_timeout",
    "status",
    "owner",
    "labels",
    "hint",
]
HEALTH = [
    "id",
    "healthy",
    "status",
    "latency_seconds",
    "server_version",
    "uptime_seconds",
    "connections",
    "max_connections",
    "database_bytes",
    "memory_bytes",
    "memory_limit_bytes",
    "exit_code",
    "oom_killed",
    "log_tail",
    "hint",
]
ODD_NAMES = (
    'it\'s "quoted" and spaced',
    "naïve 数据库 🐘",
    '"; drop table x; --',
    "a=b",
    "$(id) `id` \\ %41 &?#/@:",
)
WHO_AM_I = """
import json, os, psycopg
for conninfo in ("", os.environ["DATABASE_URL"]):
    with psycopg.connect(conninfo) as connection:
        print(json.dumps(connection.execute("SELECT current_database(), current_user").fetchone()))
"""


def test_create_writes_the_instance_on_stdout_and_its_steps_on_stderr(program: Program) -> None:
    done = program.run("postgres", "create", "--name", "shop", "--label", "suite=cli", "--format", "json")
    made = done.data
    assert sorted(made) == sorted([*LISTED, "password"])
    assert (made["name"], made["labels"], made["status"]) == ("shop", {"suite": "cli"}, "ready")
    assert made["owner"]["cwd"] == str(program.directory)
    assert "starting postgres:17" in done.stderr
    assert made["password"] not in done.stderr
    table = program.run("postgres", "get", made["id"])
    assert f"password      {made['password']}" in table.stdout
    assert table.stderr == ""


def test_quiet_create_writes_the_id_and_nothing_else(program: Program) -> None:
    done = program.run("postgres", "create", "-q")
    assert done.stderr == ""
    assert len(done.stdout.strip()) == 12
    assert program.run("postgres", "get", done.stdout.strip(), "-q").stdout == done.stdout


@needs_sh
@pytest.mark.parametrize("name", ODD_NAMES)
def test_env_and_url_connect_for_real_whatever_the_name(program: Program, name: str) -> None:
    options = shlex.join(["--database", name, "--username", name, "--name", "odd"])
    done = program.shell(
        f'set -e; eval "$(dev-postgres-mcp postgres create {options} --format env)"\n'
        f'"$PYTHON" -c {shlex.quote(WHO_AM_I)}\n'
        "dev-postgres-mcp postgres list -q >/dev/null\n"
        'printf %s "$DATABASE_URL"'
    )
    *answers, url = done.stdout.splitlines()
    assert [json.loads(answer) for answer in answers] == [[name, name]] * 2
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == (name,)


@needs_sh
def test_the_url_of_a_create_goes_straight_into_a_variable(program: Program) -> None:
    done = program.shell(
        "DATABASE_URL=$(dev-postgres-mcp postgres create --format url); export DATABASE_URL PGDATABASE=\n"
        '"$PYTHON" -c \'import os, psycopg; psycopg.connect(os.environ["DATABASE_URL"]); print("in")\''
    )
    assert done.stdout == "in\n"


@needs_sh
def test_a_reader_that_goes_away_is_no_error_of_ours(program: Program, resident: dict[str, Any]) -> None:
    done = program.shell(
        f"dev-postgres-mcp postgres get {resident['id']} --format json | head -1\n"
        "dev-postgres-mcp postgres list | true; dev-postgres-mcp --help | true"
    )
    assert done.stdout == "{\n"
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_list_shows_the_instance_without_its_password(program: Program, resident: dict[str, Any]) -> None:
    done = program.run("postgres", "list", "--format", "json")
    found = next(listed for listed in done.data["instances"] if listed["id"] == resident["id"])
    assert sorted(found) == sorted(LISTED)
    assert found["dsn"] == resident["dsn"].replace(resident["password"], "***")
    table = program.run("postgres", "list")
    quiet = program.run("postgres", "list", "-q")
    assert table.stdout.startswith("ID ")
    row = next(line for line in table.stdout.splitlines() if line.startswith(resident["id"]))
    assert all(word in row for word in (resident["name"], "ready", str(resident["port"])))
    assert "memory limits sum up to" in table.stderr
    assert resident["id"] in quiet.stdout.split()
    assert quiet.stderr == ""
    assert resident["password"] not in done.stdout + table.stdout + table.stderr + quiet.stdout


def test_an_instance_is_found_by_id_prefix_name_and_container_id(
    program: Program, resident: dict[str, Any]
) -> None:
    refs = (resident["id"], resident["id"][:9], resident["name"], resident["container_id"][:20])
    found = [program.run("postgres", "get", ref, "--format", "json").data for ref in refs]
    assert found == [resident] * len(refs)


def test_health_check_measures_the_server(program: Program, resident: dict[str, Any]) -> None:
    data = program.run("postgres", "health-check", resident["id"], "--format", "json").data
    assert sorted(data) == sorted(HEALTH)
    assert data["healthy"] is True
    assert 0 < data["memory_bytes"] < data["memory_limit_bytes"] == 512 * 1024**2
    assert 1 <= data["connections"] < data["max_connections"]
    table = program.run("postgres", "health-check", resident["id"])
    assert "healthy         yes" in table.stdout
    quiet = program.run("postgres", "health-check", resident["id"], "-q")
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_logs_end_with_the_servers_own_lines(program: Program, resident: dict[str, Any]) -> None:
    text = program.run("postgres", "logs", resident["id"]).stdout
    assert "database system is ready to accept connections" in text
    assert len(program.run("postgres", "logs", resident["id"], "--tail", "1").stdout.splitlines()) == 1
    assert len(program.run("postgres", "logs", resident["id"], "--format", "json").data["lines"]) > 5


def test_psql_takes_arguments_and_a_script_and_passes_its_exit_code_on(
    program: Program, resident: dict[str, Any]
) -> None:
    psql = ("postgres", "psql", resident["id"])
    assert program.run(*psql, "--", "-Atc", "select 40 + 2").stdout == "42\n"
    assert program.run(*psql, "--", "-At", stdin="select 'piped';\nselect inet_server_port();\n").stdout == (
        "piped\n5432\n"
    )
    failed = program.run(*psql, "--", "-v", "ON_ERROR_STOP=1", stdin="select no_such_column;", code=3)
    assert "no_such_column" in failed.stderr
    assert program.run(*psql, "--", "-c", "no sql", code=1).stdout == ""


def test_doctor_finds_everything_in_order(program: Program, resident: dict[str, Any]) -> None:
    data = program.run("doctor", "--format", "json").data
    assert data["healthy"] is True
    checks = [finding["check"] for finding in data["findings"]]
    assert {"engine", "context", "address", "api", "image", "ports", "memory", "psql"} <= set(checks)
    context = next(finding for finding in data["findings"] if finding["check"] == "context")
    assert context["detail"] == "DOCKER_HOST"
    table = program.run("doctor")
    assert table.stdout.startswith("VERDICT")
    assert [line.split()[1] for line in table.stdout.splitlines()[1:]] == checks


def test_completion_offers_the_ids_of_instances(program: Program, resident: dict[str, Any]) -> None:
    for command in ("get", "drop", "health-check", "logs", "psql"):
        offered = program.complete(f"postgres {command} {resident['id'][:6]}").stdout.split()
        assert offered == [resident["id"]], command
    everything = program.complete("postgres drop ", instruction="complete_bash").stdout.split()
    assert resident["id"] in everything


def test_a_password_comes_from_a_file_or_stdin_and_is_said_nowhere_else(program: Program) -> None:
    secret = "p@ss word/%41'\"$x"
    for source, stdin in (("-", f"{secret}\n"), ("password.txt", "")):
        (program.directory / "password.txt").write_text(f"{secret}\n", encoding="utf-8")
        arguments = ("--log-level", "debug", "postgres", "create", "--password-file", source, "-q")
        done = program.run(*arguments, stdin=stdin)
        assert secret not in done.stdout + done.stderr
        got = program.run("postgres", "get", done.stdout.strip(), "--format", "json").data
        assert got["password"] == secret
        with psycopg.connect(got["dsn"]) as connection:
            assert connection.info.password == secret


def test_drop_says_what_became_of_each_and_what_is_gone_is_no_error(
    program: Program, instance: dict[str, Any], left: Callable[[], list[str]]
) -> None:
    table = program.run("postgres", "drop", instance["id"][:10], "no-such-instance")
    assert [line.split() for line in table.stdout.splitlines()] == [
        ["INSTANCE", "OUTCOME"],
        [instance["id"], "dropped"],
        ["no-such-instance", "already_gone"],
    ]
    assert left() == []
    again = program.run("postgres", "drop", instance["id"], "--format", "json").data
    assert again == {"results": [{"ref": instance["id"], "id": None, "outcome": "already_gone"}]}
    quiet = program.run("postgres", "drop", instance["id"], "-q")
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_dropping_one_instance_from_many_processes_drops_it_and_no_list_shows_it_after(
    program: Program, instance: dict[str, Any]
) -> None:
    drops = [program.start("postgres", "drop", instance["id"], "-f", "json") for _ in range(3)]
    first = drops[0].communicate()
    listed = program.run("postgres", "list", "-q").stdout.split()
    assert first[1] == ""
    assert instance["id"] not in listed
    for drop in drops[1:]:
        _, talk = drop.communicate()
        assert (drop.returncode, talk) == (0, "")


@pytest.mark.parametrize("command", ["get", "health-check", "logs", "psql"])
def test_what_is_not_there_is_exit_code_3(program: Program, command: str) -> None:
    done = program.run("postgres", command, "no-such-instance", code=3)
    assert "no instance answers to 'no-such-instance'" in done.stderr
    assert "hint: " in done.stderr
    assert done.stdout == ""


def test_a_full_port_range_is_exit_code_5(program: Program, resident: dict[str, Any]) -> None:
    port = resident["port"]
    done = program.run("--ports", f"{port}-{port}", "postgres", "create", code=5)
    assert f"{port}-{port}" in done.stderr
    assert "widen the range" in done.stderr


def test_a_reached_ceiling_is_exit_code_5(
    program: Program, resident: dict[str, Any], left: Callable[[], list[str]]
) -> None:
    for ceiling in ("max_instances=1", "max_total_memory=600m"):
        done = program.run("--set", ceiling, "postgres", "create", code=5)
        assert "raise the ceiling" in done.stderr, ceiling
    assert left() == []


def test_an_absent_image_that_cannot_be_pulled_is_exit_code_6(program: Program) -> None:
    done = program.run("postgres", "create", "--image", ABSENT_IMAGE, code=6)
    assert ABSENT_IMAGE in done.stderr
    assert "hint: " in done.stderr


def test_an_init_script_that_fails_is_exit_code_7_with_psqls_message(
    program: Program, left: Callable[[], list[str]]
) -> None:
    script = program.directory / "schema.sql"
    script.write_text("CREATE TABLE fine ();\nSELECT no_such_function();\n", encoding="utf-8")
    done = program.run("postgres", "create", "--init", str(script), code=7)
    assert "no_such_function() does not exist" in done.stderr
    assert "schema.sql" in done.stderr
    assert left() == []


def test_a_bad_postgresql_setting_is_exit_code_7_with_the_servers_message(
    program: Program, left: Callable[[], list[str]]
) -> None:
    done = program.run("postgres", "create", "-c", "work_mem=banana", code=7)
    assert 'invalid value for parameter "work_mem": "banana"' in done.stderr
    assert left() == []


def test_an_init_path_that_is_not_there_is_exit_code_2(program: Program) -> None:
    done = program.run("postgres", "create", "--init", "/no/such/file.sql", code=2)
    assert "/no/such/file.sql" in done.stderr


def test_an_init_script_settings_and_extensions_are_in_the_new_server(program: Program) -> None:
    (program.directory / "schema.sql").write_text("CREATE TABLE fruit AS SELECT 'mango' AS name", "utf-8")
    options = ("--init", "schema.sql", "-c", "work_mem=33MB", "--extension", "plpgsql", "--format", "url")
    url = program.run("postgres", "create", *options).stdout.strip()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT name, current_setting('work_mem') FROM fruit").fetchone() == (
            "mango",
            "33MB",
        )


def test_a_dead_server_is_unhealthy_with_its_evidence_and_exit_code_1(
    docker_stage: DockerStage, program: Program, instance: dict[str, Any]
) -> None:
    docker_stage.kill(instance["container_id"])
    done = program.run("postgres", "health-check", instance["id"], "--format", "json", code=1)
    assert (done.data["healthy"], done.data["status"], done.data["exit_code"]) == (False, "exited", 137)
    assert "ready to accept connections" in done.data["log_tail"]
    assert done.data["hint"]
    table = program.run("postgres", "health-check", instance["id"], code=1)
    assert ["healthy", "no"] in [line.split() for line in table.stdout.splitlines()]
    got = program.run("postgres", "get", instance["id"], "--format", "json").data
    assert got["status"] == "exited"
    assert "exit code 137" in got["hint"]
    assert "no running server" in program.run("postgres", "psql", instance["id"], code=7).stderr
    assert "what it left stays until its lease ends: restore it to a snapshot, or drop it" in got["hint"]
    for form in ("url", "env"):
        none = program.run("postgres", "get", instance["id"], "--format", form, code=7)
        assert none.stdout == "", form
        assert f"{instance['id']} is exited and cannot be connected to" in none.stderr, form
