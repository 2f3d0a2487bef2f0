"""The plugin on a machine without an engine: the same fixtures, on a local server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.runtimes.embedded import processes
from dev_postgres_mcp.runtimes.embedded.storage import MEMORY
from tests.helpers.stages import SYSTEM, wait_until
from tests.plugin.conftest import load_little

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    sys.platform != "linux",
    reason=f"not on {SYSTEM}: nobody brings the programs of PostgreSQL 17 to its tests",
)

TESTS = """
import pytest

@pytest.mark.parametrize("n", range(20))
def test_alone(postgres_database, postgres_instance, n):
    with postgres_database.connect() as connection:
        connection.execute("INSERT INTO people VALUES (%s)", [n])
        assert connection.execute("SELECT count(*) FROM people").fetchone() == (1,)
    assert postgres_instance.runtime == "embedded"
"""
WAITING = """
import time

def test_long(postgres_database):
    print("begun", flush=True)
    time.sleep(100)
"""
OPTIONS = ("--postgres-template", "schema.sql")


@pytest.fixture
def project(offline: pytest.Pytester, clean: pytest.MonkeyPatch, tmp_path: Path) -> pytest.Pytester:
    """A project with a template, of somebody without an engine."""
    load_little(clean)
    clean.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    offline.path.joinpath("schema.sql").write_text("CREATE TABLE people (n int);")
    return offline


def left(tmp_path: Path) -> list[str]:
    """Return what is there of local servers, processes included."""
    instances = tmp_path / "state" / "dev-postgres-mcp" / "embedded" / "instances"
    found = [path.name for path in instances.iterdir()] if instances.is_dir() else []
    data = MEMORY / f"dev-postgres-mcp-{os.geteuid()}"
    return found + [name for name in found if processes.working_in(str(data / name))]


def test_tests_on_several_workers_share_a_local_server_and_leave_nothing(
    project: pytest.Pytester, tmp_path: Path
) -> None:
    project.path.joinpath("test_it.py").write_text(TESTS)
    result = project.runpytest_subprocess("-n", "2", *OPTIONS, timeout=60)
    result.assert_outcomes(passed=20)
    wait_until(lambda: left(tmp_path) == [])
    again = project.runpytest_subprocess(*OPTIONS, timeout=60)
    again.assert_outcomes(passed=20)
    wait_until(lambda: left(tmp_path) == [])


def test_a_run_that_is_killed_leaves_a_local_server_that_ends_by_itself(
    project: pytest.Pytester, clean: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clean.setenv("DEV_POSTGRES_MCP_PYTEST_IDLE_TIMEOUT", "3s")
    project.path.joinpath("test_it.py").write_text(WAITING)
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-s", *OPTIONS],
        cwd=project.path,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None
        while "begun" not in run.stdout.readline():
            assert run.poll() is None
        assert left(tmp_path) != []
        os.killpg(run.pid, signal.SIGKILL)
    wait_until(lambda: left(tmp_path) == [], seconds=90)
