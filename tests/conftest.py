"""Fixtures that all suites share: an environment of our own, and the two stages."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.runtimes.memory import MemoryWorld
from dev_postgres_mcp.settings import load_settings
from tests.helpers.embedded import EmbeddedStage
from tests.helpers.stages import DockerStage, MemoryStage, build_app, open_docker_stage, patience

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev_postgres_mcp.app import App

pytest_plugins = ["pytester"]

OURS = ("DEV_POSTGRES_MCP_", "DOCKER_")
LOCAL_IMAGES = ("postgres:14", "postgres:15", "postgres:16", "postgres:17", "postgres:18")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home of our own, and an environment that says nothing about us or Docker."""
    for variable in list(os.environ):
        if variable.upper().startswith(OURS):
            monkeypatch.delenv(variable)
    home = tmp_path / "home"
    home.mkdir()
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(home))
    for variable, folder in (("XDG_CONFIG_HOME", ".config"), ("XDG_STATE_HOME", ".state")):
        monkeypatch.setenv(variable, str(home / folder))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return home


@pytest.fixture
def world() -> MemoryWorld:
    """An engine that is not there, with the official images."""
    return MemoryWorld(images=LOCAL_IMAGES, registry=("pgvector/pgvector:pg17",))


@pytest.fixture
def memory_stage(world: MemoryWorld) -> MemoryStage:
    """The stage over the in-memory world."""
    return MemoryStage(world)


@pytest.fixture
def docker_stage() -> Iterator[DockerStage]:
    """The stage over the engine of this machine; no engine is a failure, never a skip."""
    yield from open_docker_stage(load_settings({"session": "tests"}).settings)


@pytest.fixture(scope="session")
def prepared_ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory of the embedded runtime with a prepared image in it, for others to start with."""
    stage = EmbeddedStage(root=tmp_path_factory.mktemp("embedded"))
    runtime = stage.runtime()
    base = runtime.find_image(f"postgres:{stage.version}")
    assert base is not None, "no server programs: `make setup` installs them"
    runtime.prepare(base, progress=lambda _: None, deadline=patience())
    yield stage.options.directory
    stage.close()


@pytest.fixture
def embedded_stage(prepared_ground: Path) -> Iterator[EmbeddedStage]:
    """The stage over local servers, in a directory of its own."""
    stage = EmbeddedStage()
    shutil.copytree(prepared_ground, stage.options.directory)
    yield stage
    stage.close()


@pytest.fixture
def app(memory_stage: MemoryStage) -> App:
    """The program over the in-memory world."""
    return build_app(memory_stage)


@pytest.fixture
def docker_app(docker_stage: DockerStage) -> App:
    """The program over the engine of this machine."""
    return build_app(docker_stage)
