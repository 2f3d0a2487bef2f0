"""An engine that is killed, hangs or restarts while we work with it."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from tests.faults.second_engine import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.second_engine import SecondEngine

pytestmark = pytest.mark.docker

NOT_FOUND = 3
ENGINE_UNAVAILABLE = 4


@pytest.fixture
def slow_init(tmp_path: Path) -> str:
    """A script that keeps a create busy for as long as a test may want."""
    script = tmp_path / "slow.sql"
    script.write_text("SELECT pg_sleep(60);\n")
    return str(script)


@pytest.mark.parametrize("state", ["created", "running"])
def test_an_engine_that_is_killed_in_mid_create_fails_the_create_and_hides_nothing(
    engine: SecondEngine, slow_init: str, state: str
) -> None:
    creating = engine.begin("postgres", "create", "--init", slow_init)
    engine.wait_container("running" if state == "running" else "")
    killed = time.monotonic()
    engine.kill()
    _, err = creating.communicate(timeout=60)
    print(f"create failed {time.monotonic() - killed:.1f} s after the engine: {err}")
    assert creating.returncode == ENGINE_UNAVAILABLE
    assert "hint: " in err
    assert time.monotonic() - killed < 30
    engine.start()
    left = engine.containers()
    assert [f"mcp-postgres-{seen['id']}" for seen in engine.listed()] == left
    for name in left:
        shown = engine.ask("get", name.removeprefix("mcp-postgres-"))
        assert shown["status"] in {"exited", "starting", "unhealthy"}
        assert shown["hint"]
    engine.run("postgres", "drop", "--all", "--force")
    assert engine.containers() == []
    assert engine.docker("volume", "ls", "--quiet") == ""


def test_an_engine_that_hangs_in_mid_create_fails_the_create_within_its_deadline(
    engine: SecondEngine, slow_init: str
) -> None:
    creating = engine.begin("postgres", "create", "--init", slow_init, create_timeout=10)
    assert creating.stderr is not None
    assert creating.stderr.readline().startswith("starting")
    started = time.monotonic()
    engine.wait_container("running")
    engine.send(signal.SIGSTOP)
    try:
        _, err = creating.communicate(timeout=60)
        seconds = time.monotonic() - started
    finally:
        engine.send(signal.SIGCONT)
    print(f"create failed after {seconds:.1f} s: {err}")
    assert creating.returncode != 0
    assert seconds < 10 + 1.5, "the deadline, and a second to end Python"
    assert "hint: " in err
    wait_until(engine.answers, "the engine goes on")
    assert {f"mcp-postgres-{seen['id']}" for seen in engine.listed()} == set(engine.containers())


@pytest.mark.parametrize("verb", ["list", "create", "get", "drop", "health-check"])
def test_every_verb_says_that_the_engine_is_down(engine: SecondEngine, verb: str) -> None:
    engine.kill()
    arguments = {"get": ["x"], "drop": ["x", "--force"], "health-check": ["x"]}.get(verb, [])
    done = engine.run("postgres", verb, *arguments)
    assert done.returncode == ENGINE_UNAVAILABLE
    assert str(engine.home) in done.stderr
    assert "hint: " in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("end", ["restart", "crash"])
def test_an_instance_does_not_outlive_its_engine_and_leaves_nothing(engine: SecondEngine, end: str) -> None:
    instance = engine.ask("create", "--database", "my shop", "--name", "short-lived")
    if end == "restart":
        engine.stop()
    else:
        engine.kill()
    engine.start()
    wait_until(lambda: engine.containers() == [], "the engine removes what has ended")
    gone = engine.run("postgres", "get", "short-lived")
    assert gone.returncode == NOT_FOUND
    assert "hint: " in gone.stderr
    assert engine.listed() == []
    (dropped,) = engine.ask("drop", instance["id"], "--force")["results"]
    assert dropped["outcome"] == "already_gone"
    assert engine.docker("volume", "ls", "--quiet") == ""
    again = engine.ask("create", "--name", "short-lived")
    assert engine.ask("health-check", again["id"])["healthy"]


def test_a_server_outlives_its_engine_and_works_again_with_the_next(engine: SecondEngine) -> None:
    anyio.run(talk_across_a_crash, engine)


async def talk_across_a_crash(engine: SecondEngine) -> None:
    command, *arguments = engine.enter(sys.executable, "-m", "dev_postgres_mcp", "mcp", "serve")
    server = StdioServerParameters(command=command, args=arguments, env=engine.environment())
    async with Client(server) as client:

        async def call(tool: str, **given: Any) -> tuple[bool, Any, str]:
            result = await client.call_tool(tool, given)
            return bool(result.is_error), result.structured_content, str(result.content)

        failed, first, text = await call("create_postgres_instance")
        assert not failed, text
        await anyio.to_thread.run_sync(engine.kill)
        for tool in ("list_postgres_instances", "create_postgres_instance"):
            failed, _, text = await call(tool)
            assert failed
            assert "engine" in text
            assert "hint: " in text
        await anyio.to_thread.run_sync(engine.start)
        failed, listed, text = await call("list_postgres_instances")
        assert not failed, text
        assert [seen["id"] for seen in listed["instances"]] == [], "it ended with its engine"
        failed, second, text = await call("create_postgres_instance")
        assert not failed, text
        failed, health, text = await call("health_check_postgres", id=second["id"])
        assert not failed, text
        assert health["healthy"]
        for instance in (first, second):
            failed, _, text = await call("drop_postgres_instance", id=instance["id"])
            assert not failed, text
    assert engine.containers() == []
