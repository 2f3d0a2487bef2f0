"""Whoever is killed, nothing is left behind: by itself while its supervisor lives, else after a sweep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from dev_postgres_mcp.errors import InstanceNotFound, LoginFailed
from dev_postgres_mcp.instances import Policy
from dev_postgres_mcp.instances.quota import Quota
from dev_postgres_mcp.instances.sweeping import Sweeper
from dev_postgres_mcp.model import Lease
from dev_postgres_mcp.runtimes.embedded import processes
from dev_postgres_mcp.runtimes.embedded.files import SERVER, SUPERVISOR
from tests.embedded.conftest import begin
from tests.helpers.stages import patience, wait_until

if TYPE_CHECKING:
    from dev_postgres_mcp.runtimes.base import Container
    from dev_postgres_mcp.runtimes.embedded.runtime import EmbeddedRuntime
    from tests.embedded.conftest import Body
    from tests.helpers.embedded import EmbeddedStage

LATER = timedelta(minutes=2)


def sweep(runtime: EmbeddedRuntime, ahead: timedelta = LATER) -> list[str]:
    policy = Policy(quota=Quota(max_instances=9, max_memory=2**40), create_timeout=60, pull_timeout=60)
    sweeper = Sweeper(runtime, policy, clock=lambda: datetime.now(UTC) + ahead)
    return [leftover.name for leftover in sweeper.sweep()]


def test_what_ends_by_its_lease_leaves_nothing(stage: EmbeddedStage) -> None:
    body = begin(stage, lease=Lease(expires_at=datetime.now(UTC) + timedelta(seconds=2)))
    assert len(body.left()) > 3
    wait_until(lambda: body.left() == [])


def test_what_is_dropped_leaves_nothing(body: Body, runtime: EmbeddedRuntime) -> None:
    with psycopg.connect(body.conninfo.dsn()):
        assert runtime.remove(body.container.container_id)
    wait_until(lambda: body.left() == [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_supervisor_that_is_told_to_end_leaves_nothing(body: Body, number: signal.Signals) -> None:
    body.kill(SUPERVISOR, number)
    wait_until(lambda: body.left() == [])


def test_a_server_dies_with_its_supervisor_and_a_sweep_finds_the_rest(
    body: Body, runtime: EmbeddedRuntime
) -> None:
    client = psycopg.connect(body.conninfo.dsn())
    body.kill(SUPERVISOR, signal.SIGKILL)
    wait_until(lambda: processes.working_in(str(body.data)) == [])
    with pytest.raises(psycopg.OperationalError):
        client.execute("SELECT 1")
    assert runtime.inspect(body.container.container_id).dead
    assert sweep(runtime) == [body.container.name]
    assert body.left() == []


def test_a_server_that_was_killed_leaves_evidence_until_its_lease_ends(
    body: Body, runtime: EmbeddedRuntime
) -> None:
    body.stage.kill(body.container.container_id)
    seen = runtime.inspect(body.container.container_id)
    assert seen.evidence is not None
    assert seen.evidence.exit_code == 137
    soon = Lease(expires_at=datetime.now(UTC) + timedelta(seconds=1))
    runtime.write_state(body.container, soon, deadline=patience())
    wait_until(lambda: body.left() == [])


def test_killed_together_in_the_middle_of_work_they_leave_nothing_after_a_sweep(
    stage: EmbeddedStage, runtime: EmbeddedRuntime
) -> None:
    bodies = [begin(stage) for _ in range(3)]
    for body in bodies:
        with psycopg.connect(body.conninfo.dsn(), autocommit=True) as client:
            client.execute("CREATE TABLE t AS SELECT generate_series(1, 100000) AS n")
        for which in (SUPERVISOR, SERVER):
            body.kill(which, signal.SIGKILL)
    for body in bodies:
        wait_until(partial(is_dead, runtime, body))
    assert sorted(sweep(runtime)) == sorted(body.container.name for body in bodies)
    assert [body.left() for body in bodies] == [[], [], []]


def test_a_server_that_stood_still_when_its_supervisor_was_killed_goes_with_a_sweep(
    body: Body, runtime: EmbeddedRuntime
) -> None:
    body.stage.pause(body.container.container_id)
    assert runtime.inspect(body.container.container_id).state == "paused"
    body.kill(SUPERVISOR, signal.SIGKILL)
    wait_until(lambda: runtime.inspect(body.container.container_id).dead)
    assert processes.working_in(str(body.data))
    assert sweep(runtime) == [body.container.name]
    assert body.left() == []


def test_a_paused_instance_is_dropped(body: Body, runtime: EmbeddedRuntime) -> None:
    body.stage.pause(body.container.container_id)
    assert runtime.remove(body.container.container_id)
    wait_until(lambda: body.left() == [])


def test_a_process_that_got_the_id_of_a_dead_one_is_left_alone(body: Body, runtime: EmbeddedRuntime) -> None:
    """As after a restart of the machine, when ids are given out anew."""
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        for which in (SUPERVISOR, SERVER):
            body.kill(which, signal.SIGKILL)
        wait_until(lambda: runtime.inspect(body.container.container_id).dead)
        for which in (SUPERVISOR, SERVER):
            (body.directory / which).write_text(f"{bystander.pid} 12345\n", encoding="ascii")
        assert runtime.remove(body.container.container_id)
        assert body.left() == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


CREATOR = """
import sys
from pathlib import Path
from dev_postgres_mcp.deadline import Deadline
from tests.helpers.embedded import EmbeddedStage
from tests.helpers.acts import start_prepared
stage = EmbeddedStage(root=Path(sys.argv[1]), session="victim")
print("begun", flush=True)
while True:
    start_prepared(stage, stage.runtime())
    print("made", flush=True)
"""


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.05, 0.08, 0.12, 0.2])
def test_whatever_a_killed_creator_was_at_ends_or_is_whole(
    stage: EmbeddedStage, runtime: EmbeddedRuntime, moment: float
) -> None:
    creator = subprocess.Popen(
        [sys.executable, "-c", CREATOR, str(stage.options.directory)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=Path(__file__).parents[2],
    )
    with creator:
        assert creator.stdout is not None
        assert creator.stdout.readline() == "begun\n"
        time.sleep(moment)  # a random point of its work is what this is about
        creator.kill()
        made = creator.stdout.read().count("made")
    # What it had not let go of yet ends by itself; the rest is a server that answers, or is swept.
    for container in runtime.list():
        wait_until(partial(settled, stage, runtime, container))
    assert len(runtime.list()) >= made
    unfinished = [one.name for one in runtime.list() if not one.running]
    assert sorted(sweep(runtime)) == sorted(unfinished)


def is_dead(runtime: EmbeddedRuntime, body: Body) -> bool:
    """Tell whether nobody looks after an instance any more."""
    return runtime.inspect(body.container.container_id).dead


def settled(stage: EmbeddedStage, runtime: EmbeddedRuntime, container: Container) -> bool:
    """Tell whether an instance is gone, was never looked after by anybody, or answers."""
    try:
        state = runtime.read_state(container)
        if runtime.inspect(container.container_id).state == "created":
            return True
        assert state is not None
        stage.sql.login(state.record.conninfo(container.endpoint))
    except InstanceNotFound:
        return True
    except LoginFailed:
        return False
    return True
