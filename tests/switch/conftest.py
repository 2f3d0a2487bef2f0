"""The switch under each shell that images have; and the program on a real engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.settings import load_settings
from tests.helpers.stages import DockerStage, build_app, open_docker_stage
from tests.switch.child import SHELLS, Shell, Switch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance


class Create(Protocol):
    """Creates an instance that is dropped when the test ends."""

    def __call__(self, **asked: object) -> Instance: ...


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> Shell:
    """Each of the shells; a missing one is a failure, never a skip."""
    return Shell(request.param)


@pytest.fixture
def switch(shell: Shell, tmp_path: Path) -> Iterator[Switch]:
    """A switch that is not started yet."""
    switch = Switch(shell, tmp_path)
    yield switch
    switch.close()


@pytest.fixture
def switches(tmp_path: Path) -> Iterator[list[Switch]]:
    """A switch under each shell, for what takes seconds."""
    switches = [Switch(Shell(name), tmp_path / name) for name in SHELLS]
    yield switches
    for switch in switches:
        switch.close()


@pytest.fixture(scope="session")
def stage() -> Iterator[DockerStage]:
    """The engine of this machine."""
    yield from open_docker_stage(load_settings().settings)


@pytest.fixture(scope="session")
def program(stage: DockerStage) -> App:
    """Our program on that engine."""
    return build_app(stage)


@pytest.fixture
def create(program: App) -> Iterator[Create]:
    """Create instances for this test only."""
    made: list[str] = []

    def create(**asked: object) -> Instance:
        instance = program.manager.create(build_spec(program.defaults, **asked))  # type: ignore[arg-type]  # as a test asks
        made.append(instance.id)
        return instance

    yield create
    program.manager.drop(made)
