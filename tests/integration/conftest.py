"""One engine for the whole suite, and two servers that tests may look at and must not change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.settings import load_settings
from tests.helpers.stages import DockerStage, build_app, open_docker_stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance


class Create(Protocol):
    """Creates an instance that is dropped when the test ends."""

    def __call__(self, **asked: object) -> Instance: ...


@pytest.fixture(scope="session")
def stage() -> Iterator[DockerStage]:
    """The engine of this machine, and a session label under which all of ours is put away."""
    yield from open_docker_stage(load_settings().settings)


@pytest.fixture(scope="session")
def program(stage: DockerStage) -> App:
    """Our program on that engine."""
    return build_app(stage)


@pytest.fixture(scope="session")
def shop(program: App) -> Instance:
    """A server to look at."""
    return program.manager.create(build_spec(program.defaults, name="the shop", database="shop"))


@pytest.fixture(scope="session")
def neighbour(program: App) -> Instance:
    """Another one on the same engine."""
    return program.manager.create(build_spec(program.defaults))


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
