"""Suites of other people, run as they would run them: pytest in a process of its own, on the engine of this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.program import NO_POOL, ROOMY, alone, dead_engine
from tests.plugin.suites import Suite

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.stages import DockerStage

PLUGINS = "dev_postgres_mcp.pytest_plugin,xdist.plugin"
"""All that the runs load: the others that are installed here take longer to load than the tests to run."""
INHERITED = ("DEV_POSTGRES_MCP_", "DOCKER_", "PG", "XDG_", "CI", "PYTEST_XDIST_")


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment that says nothing about us, Docker, PostgreSQL and CI."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where a run that is killed leaves an empty file
    for variable in list(os.environ):
        if variable.upper().startswith(INHERITED):
            monkeypatch.delenv(variable)
    return monkeypatch


@pytest.fixture
def suite(pytester: pytest.Pytester, clean: pytest.MonkeyPatch, docker_stage: DockerStage) -> Suite:
    """A project whose servers carry the stage's session, so that they are put away with it."""
    given = {
        **ROOMY,
        **NO_POOL,
        **alone(docker_stage.session),
        "DEV_POSTGRES_MCP_VERSION": docker_stage.version,
    }
    for name, value in given.items():
        clean.setenv(name, value)
    load_little(clean)
    clean.setenv("DOCKER_HOST", docker_stage.runtime().engine().address)
    return Suite(pytester=pytester, stage=docker_stage, environment=clean)


def load_little(environment: pytest.MonkeyPatch) -> None:
    """Have pytest load ours and pytest-xdist, and no other plugin that is installed."""
    environment.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    environment.setenv("PYTEST_PLUGINS", PLUGINS)
    environment.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # else each process compiles all of us again


@pytest.fixture
def offline(pytester: pytest.Pytester, clean: pytest.MonkeyPatch, tmp_path: Path) -> pytest.Pytester:
    """A project of somebody without an engine."""
    clean.setenv("DOCKER_HOST", dead_engine(tmp_path))
    clean.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return pytester
