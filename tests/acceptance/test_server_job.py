"""The main job over MCP on a real engine: create, work, look, drop - and what happens when a client changes its mind."""

from __future__ import annotations

import json
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from mcp import Client, StdioServerParameters

from tests.acceptance.wire import LEGACY, MODERN, RawSession, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.program import Program

pytestmark = [pytest.mark.wheel, pytest.mark.docker]

CLIENT = """
import json, subprocess, sys
server = subprocess.Popen(json.loads(sys.argv[1]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "short-lived", "version": "1"}}
create = {"name": "create_postgres_instance", "arguments": {}, "_meta": {"progressToken": 2}}
for message in (
    {"id": 1, "method": "initialize", "params": about},
    {"method": "notifications/initialized"},
    {"id": 2, "method": "tools/call", "params": create},
):
    print(json.dumps({"jsonrpc": "2.0", **message}), file=server.stdin, flush=True)
for line in server.stdout:
    if sys.argv[2] in line:
        print("now", flush=True)
"""
"""A client that can be killed: its server's pipes are in no other hands."""


def lifetime_of(instance: dict[str, Any]) -> float:
    """From its creation to its end, in seconds."""
    created, end = (datetime.fromisoformat(instance[key]) for key in ("created_at", "expires_at"))
    return (end - created).total_seconds()


@pytest.mark.parametrize("era", [*LEGACY, MODERN])
def test_the_whole_job_over_the_wire(program: Program, left: Callable[[], list[str]], era: str) -> None:
    with RawSession(program, "--log-level", "debug", era=era) as session:
        asked = {"name": f"shop {era}", "database": "shop", "username": "keeper", "labels": {"era": era}}
        request = session.send(
            "tools/call", name="create_postgres_instance", arguments={"version": 17, **asked}
        )
        made = session.wait_answer(request)["result"]["structuredContent"]
        steps = session.progress(request)
        assert len(steps) >= 2
        assert [step["progress"] for step in steps] == sorted({step["progress"] for step in steps})
        assert (made["status"], made["version"], made["database"], made["username"], made["labels"]) == (
            "ready",
            "17",
            "shop",
            "keeper",
            {"era": era},
        )
        assert lifetime_of(made) == pytest.approx(86_400, abs=60)
        assert made["idle_timeout"] == 7200
        assert f":{session.process.pid} " in made["owner"]["process"]

        with psycopg.connect(made["dsn"], autocommit=True) as connection:
            connection.execute("CREATE TABLE fruit AS SELECT 'mango' AS name")
            assert connection.execute("SELECT name, current_user FROM fruit").fetchone() == (
                "mango",
                "keeper",
            )

        health = session.call("health_check_postgres", id=made["id"])["structuredContent"]
        assert health["healthy"] is True
        assert health["latency_seconds"] < 5
        assert health["server_version"].startswith("17")

        answer = session.call("list_postgres_instances")
        listed = {found["id"]: found for found in answer["structuredContent"]["instances"]}
        assert "password" not in listed[made["id"]]
        assert made["password"] not in json.dumps(answer)
        assert listed[made["id"]]["status"] == "ready"

        assert session.call("get_postgres_instance", id=made["id"][:8])["structuredContent"] == made
        assert session.call("get_postgres_instance", id=asked["name"])["structuredContent"] == made

        outcomes = [session.call("drop_postgres_instance", id=made["id"])["structuredContent"] for _ in "ab"]
        assert [outcome["outcome"] for outcome in outcomes] == ["dropped", "already_gone"]
        gone = session.call("get_postgres_instance", id=made["id"])
        assert gone["isError"] is True
        assert "hint: list the instances" in text_of(gone)
        assert left() == []
    assert made["password"] not in session.said


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdks_own_client_does_the_job_and_stdout_carries_only_json_rpc(
    program: Program, mode: str
) -> None:
    if sys.platform == "win32":
        pytest.skip("not on Windows: no sh and tee there")
    transcript = Path(program.directory) / "transcript"
    words = [*program.command, "--log-level", "debug", "mcp", "serve"]
    server = StdioServerParameters(
        command="sh", args=["-c", '"$@" | tee "$0"', str(transcript), *words], env=dict(program.environment)
    )
    async with Client(server, mode=mode) as client:
        made = await client.call_tool("create_postgres_instance", {"version": 17})
        assert made.is_error is False
        instance: dict[str, Any] = made.structured_content
        text = getattr(made.content[0], "text", "")
        assert json.loads(text) == instance, "older clients read the text"
        async with await psycopg.AsyncConnection.connect(instance["dsn"]) as connection:
            cursor = await connection.execute("SELECT 40 + 2")
            assert await cursor.fetchone() == (42,)
        refused = await client.call_tool("create_postgres_instance", {"memory": "1m"})
        assert refused.is_error is True
        dropped = await client.call_tool("drop_postgres_instance", {"id": instance["id"]})
        assert dropped.structured_content["outcome"] == "dropped"
    lines = transcript.read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 4
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in lines)


@pytest.mark.parametrize(
    "arguments, says",
    [
        ({"memory": "1m"}, "too little for PostgreSQL"),
        ({"database": ""}, "name is empty"),
        ({"username": "x" * 10_000}, "10000 bytes long"),
        ({"version": "17", "image": "postgres:17"}, "image"),
        ({"settings": {"work_mem": "banana"}}, "last log lines"),
        ({"init": "/no/such/file.sql"}, "/no/such/file.sql"),
        ({"extensions": ["no_such_extension"]}, "no_such_extension"),
    ],
)
def test_a_refused_create_says_what_to_do_next_and_leaves_nothing(
    program: Program, left: Callable[[], list[str]], arguments: dict[str, Any], says: str
) -> None:
    with RawSession(program) as session:
        result = session.call("create_postgres_instance", **arguments)
    assert result["isError"] is True
    assert says in text_of(result)
    assert "hint: " in text_of(result)
    assert left() == []


def test_a_cancelled_create_leaves_nothing_and_the_server_goes_on(
    program: Program, left: Callable[[], list[str]]
) -> None:
    with RawSession(program) as session:
        request = session.send("tools/call", name="create_postgres_instance", arguments={})
        session.wait_progress(request, "waiting")
        assert left() != []
        session.tell("notifications/cancelled", requestId=request, reason="changed my mind")
        assert session.call("list_postgres_instances")["isError"] is False
        session.end_input()
        assert session.wait_end()[0] == 0
    assert left() == []


@pytest.mark.parametrize("step", ["starting postgres", "waiting for the first login"])
def test_a_client_that_is_killed_in_mid_create_leaves_nothing(
    program: Program, left: Callable[[], list[str]], step: str
) -> None:
    command = json.dumps([*program.command, "mcp", "serve"])
    with program.named(sys.executable, "-c", CLIENT).start(command, step) as client:
        assert client.stdout is not None
        assert client.stderr is not None
        assert client.stdout.readline() == "now\n"
        client.kill()
        talk = client.stderr.read()  # its end is the end of the server
    assert left() == []
    assert "Traceback" not in talk


def test_the_server_recovers_without_a_restart_when_the_engine_comes_up(program: Program) -> None:
    address = program.environment["DOCKER_HOST"]
    if not address.startswith("unix://"):
        pytest.skip("needs an engine on a unix socket, to bring one up by a link to it")
    socket = program.directory / "docker.sock"
    with RawSession(program.having(DOCKER_HOST=f"unix://{socket}")) as session:
        down = session.call("create_postgres_instance")
        assert down["isError"] is True
        assert str(socket) in text_of(down)
        socket.symlink_to(address.removeprefix("unix://"))
        made = session.call("create_postgres_instance")["structuredContent"]
        assert session.call("health_check_postgres", id=made["id"])["structuredContent"]["healthy"] is True


@pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: no SIGKILL there")
def test_what_a_killed_server_made_is_usable_by_the_next_process(program: Program) -> None:
    with RawSession(program) as session:
        made = session.call("create_postgres_instance", name="orphan")["structuredContent"]
        session.process.kill()
        assert session.wait_end()[0] == -signal.SIGKILL
    url = program.run("postgres", "get", made["id"], "--format", "url").stdout.strip()
    assert url == made["dsn"]
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with RawSession(program) as successor:
        assert successor.call("get_postgres_instance", id=made["id"])["structuredContent"] == made


def test_without_a_session_of_their_own_owners_are_told_apart_by_server(
    program: Program, left: Callable[[], list[str]]
) -> None:
    anonymous = program.without("DEV_POSTGRES_MCP_SESSION")
    with RawSession(anonymous) as first, RawSession(anonymous) as second:
        made = [session.call("create_postgres_instance")["structuredContent"] for session in (first, second)]
        sessions = {instance["owner"]["session"] for instance in made}
        for instance in made:
            first.call("drop_postgres_instance", id=instance["id"])
    assert len(sessions) == 2
    assert all(session.startswith("mcp-") for session in sessions)
