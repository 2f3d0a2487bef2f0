"""Each test of the contract runs on the in-memory world and on a real engine."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

import pytest

from tests.helpers.stages import SYSTEM, Stage, build_app

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.runtimes.base import Runtime


LOCAL_SERVERS = pytest.mark.skipif(
    sys.platform != "linux",
    reason=f"not on {SYSTEM}: nobody brings the programs of PostgreSQL 17 to its tests",
)


@pytest.fixture(
    params=[
        "memory",
        pytest.param("embedded", marks=LOCAL_SERVERS),
        pytest.param("docker", marks=pytest.mark.docker),
    ]
)
def stage(request: pytest.FixtureRequest) -> Stage:
    stage: Stage = request.getfixturevalue(f"{request.param}_stage")
    # A limit that no spare of somebody else on the engine has, so that none of those is claimed here.
    stage.memory += 4096 * random.randrange(1, 4096)
    return stage


@pytest.fixture
def runtime(stage: Stage) -> Runtime:
    return stage.runtime()


@pytest.fixture
def program(stage: Stage) -> App:
    return build_app(stage)
