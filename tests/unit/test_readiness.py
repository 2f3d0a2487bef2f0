"""Ready is a login that works; whatever else happens leaves evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import Cancelled, InitFailed, InstanceNotFound, ServerNotReady
from dev_postgres_mcp.instances.readiness import wait_ready
from dev_postgres_mcp.model import Secret
from tests.helpers.stages import build_launch, patience

if TYPE_CHECKING:
    from dev_postgres_mcp.runtimes.base import Container
    from dev_postgres_mcp.runtimes.memory import MemoryWorld
    from tests.helpers.stages import MemoryStage

NEVER = 10**9
PASSWORD = Secret("terminated")
"""A word that the in-memory server's log holds."""


@pytest.fixture
def container(memory_stage: MemoryStage) -> Container:
    runtime = memory_stage.runtime()
    return runtime.start(build_launch(memory_stage, runtime, password=PASSWORD), deadline=patience())


def wait(stage: MemoryStage, container: Container, deadline: Deadline, *, with_init: bool = False) -> None:
    runtime = stage.runtime()
    state = runtime.read_state(container)
    assert state is not None
    conninfo = state.record.conninfo(container.endpoint)
    wait_ready(runtime, stage.sql, container.container_id, conninfo, with_init=with_init, deadline=deadline)


@pytest.mark.parametrize("logins", [0, 1, 7])
def test_it_returns_with_the_first_login_that_works(
    memory_stage: MemoryStage, world: MemoryWorld, container: Container, logins: int
) -> None:
    world.bodies[container.container_id].logins_until_ready = logins
    wait(memory_stage, container, patience())
    assert world.bodies[container.container_id].logins_until_ready == 0


@pytest.mark.parametrize("with_init, kind", [(False, ServerNotReady), (True, InitFailed)])
def test_a_server_that_has_exited_is_not_waited_for(
    memory_stage: MemoryStage,
    world: MemoryWorld,
    container: Container,
    with_init: bool,
    kind: type[ServerNotReady],
) -> None:
    world.kill(container.container_id, exit_code=3)
    with pytest.raises(ServerNotReady) as caught:
        wait(memory_stage, container, patience(), with_init=with_init)
    assert type(caught.value) is kind
    assert caught.value.evidence is not None
    assert caught.value.evidence.exit_code == 3
    assert "server process was ***" in caught.value.evidence.log_tail
    assert caught.value.hint


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_time_that_runs_out_leaves_the_refusal_and_the_log(
    memory_stage: MemoryStage, world: MemoryWorld, container: Container, seconds: float
) -> None:
    world.bodies[container.container_id].logins_until_ready = NEVER
    with pytest.raises(ServerNotReady, match="the database system is starting up") as caught:
        wait(memory_stage, container, Deadline(seconds))
    assert caught.value.evidence is not None
    assert caught.value.evidence.log_tail


def test_a_cancel_ends_the_wait(memory_stage: MemoryStage, world: MemoryWorld, container: Container) -> None:
    world.bodies[container.container_id].logins_until_ready = NEVER
    deadline = patience()
    deadline.cancel()
    with pytest.raises(Cancelled):
        wait(memory_stage, container, deadline)


def test_a_container_that_somebody_removed_is_not_waited_for(
    memory_stage: MemoryStage, world: MemoryWorld, container: Container
) -> None:
    runtime = memory_stage.runtime()
    state = runtime.read_state(container)
    assert state is not None
    runtime.remove(container.container_id)
    with pytest.raises(InstanceNotFound):
        wait_ready(
            runtime,
            memory_stage.sql,
            container.container_id,
            state.record.conninfo(container.endpoint),
            with_init=False,
            deadline=patience(),
        )
