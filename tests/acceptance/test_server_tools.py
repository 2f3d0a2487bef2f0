"""What an MCP client learns from `tools/list`, and how the tools refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.program import dead_engine, make_program
from tests.acceptance.wire import LEGACY, MODERN, RawSession, text_of

if TYPE_CHECKING:
    from tests.acceptance.program import Program

pytestmark = pytest.mark.wheel

TOOLS = {
    "create_postgres_instance": "Create a PostgreSQL instance",
    "list_postgres_instances": "List PostgreSQL instances",
    "get_postgres_instance": "Get a PostgreSQL instance",
    "drop_postgres_instance": "Drop a PostgreSQL instance",
    "health_check_postgres": "Check a PostgreSQL instance",
    "extend_postgres_instance": "Extend a PostgreSQL instance",
    "take_postgres_snapshot": "Take a snapshot",
    "list_postgres_snapshots": "List snapshots",
    "branch_postgres_instance": "Branch a PostgreSQL instance",
    "restore_postgres_instance": "Restore a PostgreSQL instance",
    "delete_postgres_snapshot": "Delete a snapshot",
    "rehearse_migration": "Rehearse a migration",
}
NEEDED: dict[str, dict[str, str]] = {
    "extend_postgres_instance": {"ttl": "1h"},
    "rehearse_migration": {"sql": "SELECT 1"},
}
"""What a call wants beside the parameters that are required."""
INSTANCE_VIEW = [
    "id",
    "name",
    "container_id",
    "runtime",
    "host",
    "port",
    "database",
    "username",
    "password",
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
ERAS = (*LEGACY, MODERN)
OBVIOUS = (
    "get_postgres_instance",
    "health_check_postgres",
    "list_postgres_snapshots",
    "delete_postgres_snapshot",
)
"""Tools that a client understands without a word in the instructions."""
SECRET = "Tr0ub4dor-and-3"


@pytest.fixture(scope="module", params=ERAS)
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawSession]:
    """A conversation without an engine, for all tests that leave the server well."""
    home = tmp_path_factory.mktemp("home")
    with RawSession(make_program(home, dead_engine(home)), era=request.param) as session:
        yield session


@pytest.fixture(scope="module")
def tools(session: RawSession) -> dict[str, dict[str, Any]]:
    return {tool["name"]: tool for tool in session.ask("tools/list")["result"]["tools"]}


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema of an object with named fields, however deep."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from objects(part)


def test_the_server_says_who_it_is_in_which_era_and_how_long_an_instance_lives(offline: Program) -> None:
    version = offline.run("version", "--format", "json").data["version"]
    for era in ERAS:
        with RawSession(offline, era=era) as session:
            said = session.greeting
            about = said.get("serverInfo") or said["_meta"]["io.modelcontextprotocol/serverInfo"]
            assert era in (said.get("protocolVersion"), *said.get("supportedVersions", ()))
            assert about == {"name": "dev-postgres-mcp", "title": "Throwaway PostgreSQL", "version": version}
            assert all(tool in said["instructions"] for tool in TOOLS if tool not in OBVIOUS)
            assert "ends by itself at expires_at, or after idle_timeout" in said["instructions"]
            assert len(said["instructions"]) <= 4096  # where Claude Code cuts


def test_exactly_these_tools_are_listed_in_order_with_both_titles(tools: dict[str, Any]) -> None:
    assert {name: tool["title"] for name, tool in tools.items()} == TOOLS
    assert list(tools) == list(TOOLS)
    assert [tool["annotations"]["title"] for tool in tools.values()] == list(TOOLS.values())


def test_each_tool_says_what_it_may_do(tools: dict[str, Any]) -> None:
    hints = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
    said = {name: tuple(tool["annotations"][hint] for hint in hints) for name, tool in tools.items()}
    assert said == {
        "create_postgres_instance": (False, False, False, False),
        "list_postgres_instances": (True, False, True, False),
        "get_postgres_instance": (True, False, True, False),
        "drop_postgres_instance": (False, True, True, False),
        "health_check_postgres": (True, False, True, False),
        "extend_postgres_instance": (False, False, False, False),
        "take_postgres_snapshot": (False, False, False, False),
        "list_postgres_snapshots": (True, False, True, False),
        "branch_postgres_instance": (False, False, False, False),
        "restore_postgres_instance": (False, True, False, False),
        "delete_postgres_snapshot": (False, True, False, False),
        "rehearse_migration": (False, True, False, False),
    }


def test_each_tool_parameter_and_result_field_is_described(tools: dict[str, Any]) -> None:
    for name, tool in tools.items():
        assert len(tool["description"]) > 40, name
        assert "Returns" in tool["description"], name
        for schema in (tool["inputSchema"], tool["outputSchema"]):
            for field, about in ((f, a) for part in objects(schema) for f, a in part["properties"].items()):
                assert about.get("description"), f"{name}: {field}"


def test_no_schema_takes_or_returns_more_than_it_names(tools: dict[str, Any]) -> None:
    for name, tool in tools.items():
        for schema in (*objects(tool["inputSchema"]), *objects(tool["outputSchema"])):
            assert schema["additionalProperties"] is False, name


def test_what_makes_gets_or_changes_an_instance_returns_its_view(tools: dict[str, Any]) -> None:
    for verb in ("create", "get", "extend", "branch", "restore"):
        name = f"{verb}_postgres_instance"
        schema = tools[name]["outputSchema"]
        assert sorted(schema["properties"]) == sorted(INSTANCE_VIEW)
        assert sorted(schema["required"]) == sorted(INSTANCE_VIEW)


def test_a_listed_instance_has_all_of_it_but_the_password(tools: dict[str, Any]) -> None:
    schemas = list(objects(tools["list_postgres_instances"]["outputSchema"]))
    listed = next(schema for schema in schemas if "container_id" in schema["properties"])
    assert sorted(listed["properties"]) == sorted(set(INSTANCE_VIEW) - {"password"})


def test_an_unknown_argument_is_refused_by_name(session: RawSession) -> None:
    result = session.call("create_postgres_instance", verison="17")
    assert result["isError"] is True
    assert "verison" in text_of(result)


def test_an_integer_is_a_version_and_an_unknown_one_is_refused_with_the_choices(session: RawSession) -> None:
    taken = session.call("create_postgres_instance", version=17)
    refused = session.call("create_postgres_instance", version=9)
    assert "no.sock" in text_of(taken), "it came as far as looking for the engine"
    assert refused["isError"] is True
    assert all(choice in text_of(refused) for choice in ("version", "14", "18"))


@pytest.mark.parametrize("era", ERAS)
def test_no_refusal_repeats_a_password(offline: Program, era: str) -> None:
    bad: tuple[dict[str, Any], ...] = (
        {"password": [SECRET]},
        {"password": {"value": SECRET}},
        {"password": SECRET, "cpus": "many"},
        {"password": f"{SECRET}\n{SECRET}"},
        {"password": SECRET * 100},
        {"passwort": SECRET},
        {"password": SECRET},
    )
    with RawSession(offline, "--log-level", "debug", era=era) as session:
        refusals = [session.call("create_postgres_instance", **arguments) for arguments in bad]
    assert all(refusal["isError"] for refusal in refusals)
    assert SECRET not in "".join(session.lines)
    assert SECRET not in session.said


def test_errors_are_text_only_and_say_what_to_do_next(session: RawSession) -> None:
    result = session.call("get_postgres_instance", id="zzzz")
    assert result["isError"] is True
    assert "structuredContent" not in result
    assert "hint: " in text_of(result)
    assert "no.sock" in text_of(result)


def test_tools_are_listed_while_the_engine_is_down_and_each_call_says_why(session: RawSession) -> None:
    listed = session.ask("tools/list")["result"]["tools"]
    assert [tool["name"] for tool in listed] == list(TOOLS)
    for tool in listed:
        required = dict.fromkeys(tool["inputSchema"].get("required", ()), "abc")
        result = session.call(tool["name"], **required, **NEEDED.get(tool["name"], {}))
        assert result["isError"] is True, tool["name"]
        assert "no.sock" in text_of(result), tool["name"]


@pytest.mark.parametrize("era", ERAS)
def test_whatever_a_client_sends_stdout_carries_only_json_rpc(offline: Program, era: str) -> None:
    with RawSession(offline, "--log-level", "debug", era=era) as session:
        for nonsense in ("this is no JSON", "{}", "[]", "", "\N{ELEPHANT}"):
            session.write(nonsense)
        session.write({"jsonrpc": "2.0", "id": "x", "method": "no/such/method"})
        session.write({"jsonrpc": "2.0", "id": 900, "method": "tools/call", "params": {"name": 7}})
        session.tell("notifications/nonsense")
        assert session.call("no_such_tool")["isError"] is True
        assert len(session.ask("tools/list")["result"]["tools"]) == len(TOOLS), "it is still well"
        session.end_input()
        assert session.wait_end()[0] == 0
    assert len(session.messages()) >= 5
    assert "Traceback" not in session.said
