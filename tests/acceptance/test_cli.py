"""The command line without an engine: help, settings, snippets, usage."""

from __future__ import annotations

import json
import shlex
import sys
import time
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.wire import RawSession
from tests.helpers.engines import HANG, ScriptedEngine

if TYPE_CHECKING:
    from tests.acceptance.program import Program

pytestmark = pytest.mark.wheel

COMMANDS = (
    "postgres create",
    "postgres list",
    "postgres get",
    "postgres drop",
    "postgres health-check",
    "postgres logs",
    "postgres psql",
    "postgres extend",
    "postgres sweep",
    "postgres branch",
    "postgres restore",
    "postgres try",
    "postgres run",
    "postgres write-env",
    "postgres rehearse",
    "postgres snapshot take",
    "postgres snapshot list",
    "postgres snapshot delete",
    "postgres pool status",
    "postgres pool fill",
    "postgres pool drain",
    "data check",
    "image list",
    "image prepare",
    "image prune",
    "mcp serve",
    "mcp config",
    "config show",
    "doctor",
    "version",
)
CLIENTS = ("claude-code", "claude-desktop", "cursor", "vscode", "codex", "gemini-cli", "augment")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_explains_by_example(offline: Program, command: str) -> None:
    done = offline.run(*command.split(), "--help")
    assert f"  dev-postgres-mcp {command}".rstrip() in done.stdout
    assert "Example" in done.stdout
    assert done.stderr == ""


def test_help_documents_the_exit_codes(offline: Program) -> None:
    text = offline.run("--help").stdout
    assert all(f"  {code}  " in text for code in ("0", "1", "2", "3", "4", "5", "6", "7", "128+n"))


@pytest.mark.parametrize(
    "group", ["", "postgres", "postgres snapshot", "postgres pool", "data", "image", "mcp", "config"]
)
def test_a_group_without_a_command_shows_its_help(offline: Program, group: str) -> None:
    done = offline.run(*group.split(), code=2)
    assert "Commands:" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "group", ["postgres", "postgres snapshot", "postgres pool", "data", "image", "mcp", "config"]
)
def test_a_group_says_of_itself_what_its_parent_says_of_it(offline: Program, group: str) -> None:
    *parent, name = group.split()
    listed = offline.run(*parent, "--help").stdout.split("Commands:")[1]
    told = next(line.split(maxsplit=1)[1] for line in listed.splitlines() if line.split()[:1] == [name])
    own = offline.run(*group.split(), "--help").stdout
    assert f"\n\n  {told.removesuffix('...')}" in own
    assert own.startswith(f"Usage: dev-postgres-mcp {group} [OPTIONS]")


@pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: no unix sockets there")
def test_an_engine_that_hangs_in_the_closing_sweep_does_not_hold_the_prompt(offline: Program) -> None:
    with ScriptedEngine(answers={"/containers/json": (200, "[]"), "/images/json": HANG}) as engine:
        user = offline.having(DOCKER_HOST=engine.url)
        started = time.monotonic()
        assert user.run("postgres", "list", "-q").stdout == ""
        assert time.monotonic() - started < 15, "one call alone may take thirty seconds"
        assert any("/images/json" in path for path in engine.asked), "it was sweeping"


@pytest.mark.parametrize("arguments", ["--help", "--version", "version", "postgres create --help"])
def test_nothing_heavy_is_loaded_before_it_is_needed(offline: Program, arguments: str) -> None:
    timed = offline.having(PYTHONPROFILEIMPORTTIME="1").run(*arguments.split())
    loaded = {line.rsplit("|", 1)[-1].strip().partition(".")[0] for line in timed.stderr.splitlines()}
    assert "dev_postgres_mcp" in loaded
    assert loaded & {"docker", "mcp", "psycopg", "requests", "rich", "structlog"} == set()


def test_the_version_is_said_in_three_ways(offline: Program) -> None:
    version = offline.run("version", "--format", "json").data["version"]
    assert offline.run("version").stdout == f"dev-postgres-mcp {version}\n"
    assert offline.run("--version").stdout == f"dev-postgres-mcp {version}\n"
    assert offline.run("version", "-q").stdout == f"{version}\n"


@pytest.mark.parametrize(
    "arguments, says",
    [
        ("postgres create --version 9", "PostgreSQL version '9' is not offered"),
        ("--ports 25432-15432 postgres create", "reversed"),
        ("--ports many postgres create", "not a range"),
        ("postgres create --memory 1m", "too little for PostgreSQL"),
        ("postgres create --memory lots", "not a size"),
        ("postgres create --database ''", "name is empty"),
        ("postgres create --name ''", "name is empty"),
        (f"postgres create --username {'x' * 10_000}", "10000 bytes long"),
        (f"postgres create --name {'x' * 10_000}", "10000 bytes long"),
        ("postgres create --username pg_me", "reserved by PostgreSQL"),
        ("postgres create -c port=1", "belongs to dev-postgres-mcp"),
        ("postgres create -c work_mem", "PostgreSQL setting 'work_mem' has no `=`"),
        ("--set work_mem postgres create", "program setting 'work_mem' has no `=`"),
        ("postgres create --label a", "label 'a' has no `=`"),
        ("postgres create --init /no/such/file.sql", "init /no/such/file.sql does not exist"),
        (f"postgres create --init '{'SELECT 1; ' * 1000}'", "init takes a path"),
        ("postgres create --image Postgres:17", "'Postgres:17' is no image reference"),
        ("postgres create --image 'postgres:17?x'", "is no image reference"),
        ("postgres create --database template0", "template0 accepts no connections"),
        ("postgres create --password-file /no/such/file", "cannot be read"),
        ("postgres create --cpus 0", "cpu"),
        ("postgres create --no-such-option", "--no-such-option"),
        ("postgres create --format yaml", "yaml"),
        ("postgres drop", "--all"),
        ("postgres drop --all abc", "--all"),
        ("postgres get", "INSTANCE"),
        ("--set no_such_setting=1 config show", "unknown setting no_such_setting"),
        ("--set max_instance=1 config show", "did you mean max_instances?"),
        ("--set cpus=many config show", "cpus (from argument)"),
        ("--config /no/such/file config show", "/no/such/file cannot be read"),
        ("--env-file /no/such/file config show", "/no/such/file cannot be read"),
        ("data check", "give one statement, or a file of them"),
        ("data check 'SELECT 1' --file x", "give one statement, or a file of them"),
        ("data check --file /no/such/file", "cannot be read"),
        ("data check 'SELECT 1' --version 9", "greater than or equal to 14"),
        ("no-such-command", "no-such-command"),
        ("mcp config no-such-client", "no-such-client"),
    ],
)
def test_bad_usage_is_exit_code_2_with_its_reason_on_stderr(
    offline: Program, arguments: str, says: str
) -> None:
    done = offline.run(*shlex.split(arguments), code=2)
    assert says.lower() in done.stderr.lower()
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 1000, "no message drowns in what was given"


@pytest.mark.parametrize(
    "command",
    [
        "create",
        "list",
        "get abc",
        "drop abc",
        "health-check abc",
        "logs abc",
        "psql abc",
        "drop --all --force",
        "extend abc --ttl 1h",
        "sweep",
        "sweep --dry-run",
        "branch abc",
        "restore abc before",
        "try abc -- true",
        "rehearse abc -",
        "snapshot take abc",
        "snapshot list",
        "snapshot delete before",
        "pool status",
        "pool fill",
        "pool drain",
    ],
)
def test_without_an_engine_each_command_says_what_was_tried(offline: Program, command: str) -> None:
    done = offline.run("postgres", *command.split(), code=4)
    assert "no.sock (DOCKER_HOST)" in done.stderr
    assert "hint: " in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_doctor_shows_the_missing_engine_with_its_remedy(offline: Program) -> None:
    table = offline.run("doctor", code=4)
    data = offline.run("doctor", "--format", "json", code=4).data
    assert "no.sock" in table.stdout
    assert "engine: " in table.stderr
    assert data["healthy"] is False
    engine = next(finding for finding in data["findings"] if finding["check"] == "engine")
    assert engine["verdict"] == "error"
    assert engine["remedy"]


def test_each_setting_shows_where_it_came_from(offline: Program) -> None:
    config, env_file = offline.directory / "mine.yaml", offline.directory / "mine.env"
    config.write_text("memory: 1g\ncpus: 2\nusername: filed\ndatabase: filed\n", encoding="utf-8")
    env_file.write_text("DEV_POSTGRES_MCP_CPUS=3\nDEV_POSTGRES_MCP_USERNAME=filed2\n", encoding="utf-8")
    program = offline.having(
        DEV_POSTGRES_MCP_USERNAME="environed", DEV_POSTGRES_MCP_PASSWORD="s3cret-of-mine"
    )
    arguments = (
        "--config",
        str(config),
        "--env-file",
        str(env_file),
        "--log-level",
        "error",
        "config",
        "show",
    )
    done = program.run(*arguments, "--format", "json")
    shown = {setting["name"]: (setting["value"], setting["origin"]) for setting in done.data["settings"]}
    assert shown["log_level"] == ("error", "argument")
    assert shown["username"] == ("environed", "environment")
    assert shown["cpus"] == ("3.0", f"env file {env_file}")
    assert shown["memory"] == ("1 GB", f"file {config}")
    assert shown["database"] == ("filed", f"file {config}")
    assert shown["version"] == ("17", "default")
    assert shown["password"] == ("***", "environment")
    table = program.run(*arguments)
    assert "***" in table.stdout
    assert "s3cret-of-mine" not in done.stdout + done.stderr + table.stdout + table.stderr


def test_the_users_own_configuration_is_read_and_a_stray_env_file_is_not(offline: Program) -> None:
    (offline.directory / ".env").write_text("DEV_POSTGRES_MCP_MEMORY=2g\n", encoding="utf-8")
    config = offline.directory / "mine.yaml"
    config.write_text("cpus: 2\n", encoding="utf-8")
    shown = offline.having(DEV_POSTGRES_MCP_CONFIG=str(config)).run("config", "show", "--format", "json").data
    origins = {setting["name"]: setting["origin"] for setting in shown["settings"]}
    assert origins["cpus"] == f"file {config}"
    assert origins["memory"] == "default"


def test_a_misspelt_variable_is_an_error_that_names_the_right_one(offline: Program) -> None:
    done = offline.having(DEV_POSTGRES_MCP_MEMROY="1g").run("config", "show", code=2)
    assert "did you mean DEV_POSTGRES_MCP_MEMORY?" in done.stderr


def read_snippet(client: str, text: str) -> list[str]:
    """Read a snippet as its client does, and return the command that it starts."""
    if client == "claude-code":
        words = shlex.split(text)
        assert words[:4] == ["claude", "mcp", "add", "dev-postgres"]
        return words[words.index("--") + 1 :]
    servers: dict[str, Any] = tomllib.loads(text) if client == "codex" else json.loads(text)
    (block,) = servers.values()
    server = block["dev-postgres"]
    return [server["command"], *server["args"]]


@pytest.mark.parametrize("client", CLIENTS)
def test_the_snippet_for_a_client_starts_a_server_that_answers(offline: Program, client: str) -> None:
    done = offline.run("mcp", "config", client)
    command = read_snippet(client, done.stdout)
    assert command[-2:] == ["mcp", "serve"]
    assert client in done.stderr, "where to put it is talk"
    assert offline.run("mcp", "config", client, "-q").stderr == ""
    data = offline.run("mcp", "config", client, "--format", "json").data
    assert read_snippet(client, data["snippet"]) == command
    with RawSession(offline.named(*command[:-2])) as session:
        assert len(session.ask("tools/list")["result"]["tools"]) == 12


def test_a_completion_script_is_there_for_each_shell(offline: Program) -> None:
    for shell in ("bash", "zsh", "fish"):
        done = offline.complete("", instruction=f"source_{shell}")
        assert "_DEV_POSTGRES_MCP_COMPLETE" in done.stdout, shell


def test_completion_offers_commands_and_stays_silent_without_an_engine(offline: Program) -> None:
    assert "health-check" in offline.complete("postgres ").stdout.splitlines()
    silent = offline.complete("postgres get ")
    assert (silent.stdout.strip(), silent.stderr) == ("", "")


def test_a_statement_is_checked_without_any_server(offline: Program) -> None:
    fine = offline.run("data", "check", "SELECT lower('A')", "--format", "json").data
    assert (fine["sql"], fine["admitted"]) == ("SELECT lower('A')", True)
    refused = offline.run("data", "check", "SELECT pg_sleep(1)", "--format", "json", code=1).data
    assert (refused["admitted"], refused["position"]) == (False, 8)
    assert "pg_sleep keeps the connection waiting" in refused["reason"]
    assert "refused" in offline.run("data", "check", "DROP TABLE x", code=1).stdout


def test_a_file_of_statements_gets_one_verdict_a_line_in_its_order(offline: Program) -> None:
    texts = ["SELECT 1", "SELECT '\u2028'", "DELETE FROM t", "SELECT '\ud800'", "SELECT 'é'"]
    lines = [json.dumps({"sql": text, "class": "any"}, ensure_ascii=text == texts[3]) for text in texts]
    file = offline.directory / "statements.jsonl"
    file.write_text("\n".join([*lines, "", ""]), encoding="utf-8")
    done = offline.run("data", "check", "--file", str(file), "--format", "json")
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [verdict["sql"] for verdict in verdicts] == texts
    assert [verdict["admitted"] for verdict in verdicts] == [True, True, False, False, True]
    file.write_text('{"sql": "SELECT 1"}\n["no object"]\n', encoding="utf-8")
    assert "line 2" in offline.run("data", "check", "--file", str(file), code=2).stderr
