"""Users of the program: one with the engine of this machine, one without any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dev_postgres_mcp.app import build_app
from dev_postgres_mcp.parsing import new_id
from dev_postgres_mcp.runtimes.docker.container import LABEL
from dev_postgres_mcp.settings import load_settings
from tests.acceptance.program import NO_POOL, alone, dead_engine, make_program
from tests.integration.shell import MEASURING

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
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children without coverage, with which they take twice as long to start: for what is measured elsewhere."""
    monkeypatch.delenv(MEASURING, raising=False)


@pytest.fixture
def program(docker_stage: DockerStage, tmp_path: Path) -> Program:
    """The program on a real engine; what it makes carries the stage's session and is put away with it."""
    return make_program(
        tmp_path, docker_stage.runtime().engine().address, **alone(docker_stage.session), **NO_POOL
    )


@pytest.fixture
def pooling(program: Program) -> Program:
    """The same, with a warm pool of one spare beside each server."""
    return program.having(DEV_POSTGRES_MCP_POOL_SIZE="1")


@pytest.fixture
def offline(tmp_path: Path) -> Program:
    """The program without an engine: its socket is not there."""
    return make_program(tmp_path, dead_engine(tmp_path))


@pytest.fixture
def left(docker_stage: DockerStage) -> Callable[[], list[str]]:
    """The containers on the engine that carry the stage's session, of any state and role."""

    def look() -> list[str]:
        label = f"{LABEL}maker={docker_stage.session}"
        found: list[dict[str, Any]] = docker_stage.api.containers(all=True, filters={"label": label})
        return [str(container["Names"][0]).lstrip("/") for container in found]

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
    program = make_program(home, runtime.engine().address, **alone(session), **NO_POOL)
    made = program.run("postgres", "create", "--name", f"resident {session}", "--format", "json").data
    yield made
    program.run("postgres", "drop", made["id"])
    runtime.close()
