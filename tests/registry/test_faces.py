"""What people and models see of a pull: progress on their channel, and how a failed one ends."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import anyio
import pytest
from mcp import Client, StdioServerParameters

from tests.acceptance.program import make_program
from tests.acceptance.wire import RawSession, text_of
from tests.registry.conftest import LAYER_BYTES, LAYERS
from tests.registry.proxy import Answer, Script, refusal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.program import Program
    from tests.helpers.stages import DockerStage
    from tests.registry.proxy import Proxy

pytestmark = pytest.mark.docker

SLOW = Script(pause=0.015)
TRICKLE = Script(pause=0.5)
DOWN = Script(answer=lambda _: Answer(503, b"down"))
ABSENT = Script(answer=lambda _: refusal(404, "MANIFEST_UNKNOWN", "manifest unknown"))
BUSY = Script(answer=lambda _: refusal(429, "TOOMANYREQUESTS", "slow down", Retry_After="60"))
PRIVATE = Script(
    answer=lambda _: refusal(
        401, "UNAUTHORIZED", "authentication required", WWW_Authenticate='Basic realm="x"'
    )
)
SECONDS_TO_END = 1.0
BUSY_MACHINE = 0.5
"""Seconds that a busy machine may add to the end of a process."""


@pytest.fixture
def program(docker_stage: DockerStage, tmp_path: Path) -> Program:
    address = docker_stage.runtime().engine().address
    return make_program(tmp_path, address, DEV_POSTGRES_MCP_SESSION=docker_stage.session)


def test_the_command_says_on_stderr_what_it_pulls(program: Program, absent: str, proxy: Proxy) -> None:
    proxy.script = SLOW

    ended = program.run("postgres", "create", "--image", absent, "--format", "json")

    lines = ended.stderr.splitlines()
    assert lines[0].startswith(f"pulling {absent}: ")
    assert lines[-2:] == [f"starting {absent}", "waiting for the first login"]
    assert program.run("postgres", "health-check", ended.data["id"], "-q").code == 0
    assert program.run("postgres", "drop", ended.data["id"]).code == 0


def test_a_quiet_command_pulls_in_silence(program: Program, absent: str) -> None:
    assert program.run("postgres", "create", "--image", absent, "-q").stderr == ""


def test_a_terminal_gets_a_bar_in_bytes(program: Program, absent: str, proxy: Proxy) -> None:
    proxy.script = SLOW

    with program.on_terminal("postgres", "create", "--image", absent) as terminal:
        terminal.expect("MiB")
        assert terminal.finish() == 0

    assert "━" in terminal.screen


@pytest.mark.parametrize(
    "script, said",
    [
        pytest.param(PRIVATE, "docker login", id="unauthorized"),
        pytest.param(ABSENT, "name and tag", id="not found"),
        pytest.param(BUSY, "wait and try again", id="rate limited"),
        pytest.param(DOWN, "network or proxy", id="unreachable"),
    ],
)
def test_a_failed_pull_ends_with_code_6_and_a_hint(
    program: Program, undelivered: str, proxy: Proxy, script: Script, said: str
) -> None:
    proxy.script = script

    ended = program.run("postgres", "create", "--image", undelivered, code=6)

    assert ended.stdout == ""
    assert f"error: could not pull {undelivered}" in ended.stderr
    assert said in ended.stderr.partition("hint: ")[2]
    assert "Traceback" not in ended.stderr


@pytest.mark.alone
def test_an_interrupted_command_takes_the_engines_pull_with_it(
    program: Program, absent: str, proxy: Proxy
) -> None:
    proxy.script = TRICKLE
    with program.start("postgres", "create", "--image", absent) as process:
        begun = proxy.flowing.wait(20)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        seconds = time.monotonic() - start

    assert begun
    assert seconds < SECONDS_TO_END + BUSY_MACHINE
    assert process.returncode == 130
    assert proxy.hung_up.wait(3)


def test_a_client_hears_how_far_the_pull_has_come(program: Program, absent: str, proxy: Proxy) -> None:
    proxy.script = SLOW
    heard: list[tuple[float, float | None, str | None]] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))

    async def talk() -> None:
        command, *arguments = program.command
        server = StdioServerParameters(
            command=command,
            args=[*arguments, "mcp", "serve"],
            env=dict(program.environment),
            cwd=program.directory,
        )
        async with Client(server) as client:
            made = await client.call_tool(
                "create_postgres_instance", {"image": absent}, progress_callback=hear
            )
            assert not made.is_error, made.content
            assert made.structured_content is not None
            instance = made.structured_content["id"]
            health = await client.call_tool("health_check_postgres", {"id": instance})
            assert health.structured_content is not None
            assert health.structured_content["healthy"]
            await client.call_tool("drop_postgres_instance", {"id": instance})

    anyio.run(talk)

    pulled = [step for step in heard if (step[2] or "").startswith(f"pulling {absent}: ")]
    values = [step[0] for step in heard]
    assert len(pulled) > 2
    assert values == sorted(set(values)), "progress has to increase (MCP, Utilities/Progress)"
    assert max(done for done, _, _ in pulled) >= LAYER_BYTES
    assert any(total is not None and total >= LAYERS * LAYER_BYTES for _, total, _ in pulled)
    assert [message for _, _, message in heard[-2:]] == [f"starting {absent}", "waiting for the first login"]


def test_a_model_is_told_why_a_pull_failed_and_what_to_do(
    program: Program, undelivered: str, proxy: Proxy
) -> None:
    proxy.script = PRIVATE
    with RawSession(program) as session:
        result = session.call("create_postgres_instance", image=undelivered)

    assert result["isError"]
    assert f"could not pull {undelivered}" in text_of(result)
    assert "docker login" in text_of(result)


@pytest.mark.alone
def test_a_server_that_is_ended_in_mid_pull_ends_within_a_second(
    program: Program, absent: str, proxy: Proxy
) -> None:
    proxy.script = TRICKLE
    with RawSession(program) as session:
        session.send("tools/call", name="create_postgres_instance", arguments={"image": absent})
        begun = proxy.flowing.wait(20)

        os.kill(session.process.pid, signal.SIGTERM)
        code, seconds = session.wait_end()

    assert begun
    assert code == 128 + signal.SIGTERM
    assert seconds < SECONDS_TO_END + BUSY_MACHINE
    assert proxy.hung_up.wait(3)
