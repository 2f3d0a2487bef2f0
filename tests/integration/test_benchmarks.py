"""A benchmark that nobody runs rots: one subject, small, as `make bench` runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.helpers.stages import DockerStage

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(240)
def test_create_to_first_query_is_measured_and_nothing_is_left(stage: DockerStage) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--only", "first-query"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    session = re.findall(r"bench-\w+", done.stderr)[0]
    assert "CREATE TO FIRST QUERY" in done.stdout
    assert {"warm:", "cold:", "testcontainers", "docker", "floor:"} <= set(done.stdout.split())
    for label in (f"dev-postgres-mcp.maker={session}", f"benchmarks.session={session}"):
        assert stage.api.containers(all=True, filters={"label": label}) == []
        assert stage.api.images(filters={"label": label}) == []
