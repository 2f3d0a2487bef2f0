"""Local servers, and what of them is left on this machine."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.runtimes.embedded import processes
from dev_postgres_mcp.runtimes.embedded.files import SERVER, SUPERVISOR, read_plan, read_process
from tests.helpers.acts import read_state, start_prepared
from tests.helpers.stages import SYSTEM

if TYPE_CHECKING:
    import signal

    from dev_postgres_mcp.model import Conninfo
    from dev_postgres_mcp.runtimes.base import Container
    from dev_postgres_mcp.runtimes.embedded.runtime import EmbeddedRuntime
    from tests.helpers.embedded import EmbeddedStage


@pytest.fixture(autouse=True)
def on_linux() -> None:
    """These tests look into /proc, and become and mount things as root."""
    if sys.platform != "linux":
        pytest.skip(f"not on {SYSTEM}: no /proc there")


@pytest.fixture
def stage(embedded_stage: EmbeddedStage) -> EmbeddedStage:
    return embedded_stage


@pytest.fixture
def runtime(stage: EmbeddedStage) -> EmbeddedRuntime:
    return stage.runtime()


@dataclass(frozen=True, kw_only=True)
class Body:
    """One instance, and where to look for what of it may stay behind."""

    stage: EmbeddedStage
    container: Container
    conninfo: Conninfo
    directory: Path
    data: Path
    cgroups: tuple[Path, ...]
    segment: str

    def pid(self, which: str) -> int:
        found = read_process(str(self.directory / which))
        assert found is not None
        return found[0]

    @property
    def supervisor(self) -> int:
        return self.pid(SUPERVISOR)

    @property
    def server(self) -> int:
        return self.pid(SERVER)

    def kill(self, which: str, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid(which), number)

    def left(self) -> list[str]:
        """Return what is there of it: processes, files, control groups, shared memory."""
        found = [f"process {pid}" for pid in processes.working_in(str(self.data))]
        found += [str(path) for path in (self.directory, self.data, *self.cgroups) if path.exists()]
        found += [f"{self.directory}.gone"] if Path(f"{self.directory}.gone").exists() else []
        segments = Path("/proc/sysvipc/shm").read_text(encoding="ascii").splitlines()[1:]
        return found + [f"segment {self.segment}" for one in segments if one.split()[1] == self.segment]


def begin(stage: EmbeddedStage, **changes: object) -> Body:
    """Start a server on the prepared image and return it when it answers."""
    runtime = stage.runtime()
    container = start_prepared(stage, runtime, **changes)
    directory = stage.directory(container.container_id)
    plan = read_plan(str(directory))
    lines = Path(plan.data, "postmaster.pid").read_text(encoding="ascii").splitlines()
    return Body(
        stage=stage,
        container=container,
        conninfo=read_state(runtime, container).record.conninfo(container.endpoint),
        directory=directory,
        data=Path(plan.data),
        cgroups=tuple(map(Path, plan.cgroups)),
        segment=lines[6].split()[1],
    )


@pytest.fixture
def body(stage: EmbeddedStage) -> Body:
    return begin(stage)
