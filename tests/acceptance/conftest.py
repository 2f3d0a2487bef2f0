"""Users of the program: one with the engine of this machine, one without any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dev_postgres_mcp.app import build_app
from dev_postgres_mcp.parsing import new_id
from dev_postgres_mcp.runtimes.docker.container import LABEL
from dev_postgres_mcp.settings import load_settings
from tests.acceptance.program import dead_engine, make_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.acceptance.program import Program
    from tests.helpers.stages import DockerStage


@pytest.fixture
def anyio_backend() -> str:
    """Tests of the SDK's client run on asyncio, as the server does."""
    return "asyncio"


@pytest.fixture
def program(docker_stage: DockerStage, tmp_path: Path) -> Program:
    """The program on a real engine; what it makes is owned by the stage's session and put away with it."""
    address = docker_stage.runtime().engine().address
    return make_program(tmp_path, address, DEV_POSTGRES_MCP_SESSION=docker_stage.session)


@pytest.fixture
def offline(tmp_path: Path) -> Program:
    """The program without an engine: its socket is not there."""
    return make_program(tmp_path, dead_engine(tmp_path))


@pytest.fixture
def left(docker_stage: DockerStage) -> Callable[[], list[str]]:
    """What is on the engine that carries the stage's session, of any state."""

    def look() -> list[str]:
        label = f"{LABEL}owner.session={docker_stage.session}"
        found: list[dict[str, Any]] = docker_stage.api.containers(all=True, filters={"label": label})
        return [str(container["Names"][0]) for container in found]

    return look


@pytest.fixture
def instance(program: Program) -> dict[str, Any]:
    """An instance made from the shell, for one test."""
    made: dict[str, Any] = program.run("postgres", "create", "--format", "json").data
    return made


@pytest.fixture(scope="session")
def resident(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """An instance for all tests that only look at one."""
    runtime = build_app(load_settings().settings, session="", program="").runtime
    home, session = tmp_path_factory.mktemp("resident"), f"test-{new_id()}"
    program = make_program(home, runtime.engine().address, DEV_POSTGRES_MCP_SESSION=session)
    made = program.run("postgres", "create", "--name", f"resident {session}", "--format", "json").data
    yield made
    program.run("postgres", "drop", made["id"])
    runtime.close()
