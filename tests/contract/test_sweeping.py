"""What a sweep finds of one's own things when their time is over; on a shared engine it only looks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.instances import Policy
from dev_postgres_mcp.instances.quota import Quota
from dev_postgres_mcp.instances.sweeping import Sweeper
from dev_postgres_mcp.parsing import new_id
from tests.helpers.acts import branch, create, start_prepared
from tests.helpers.stages import owned

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Leftover
    from tests.helpers.stages import Stage


def look(program: App, *, ahead: timedelta, max_snapshot_size: int = 2**62) -> dict[str, Leftover]:
    """Return by name what a sweep would remove that much later."""
    quota = Quota(max_instances=1, max_memory=1)
    policy = Policy(quota=quota, create_timeout=60, pull_timeout=60, max_snapshot_size=max_snapshot_size)
    sweeper = Sweeper(program.runtime, policy, clock=lambda: datetime.now(UTC) + ahead)
    return {leftover.name: leftover for leftover in sweeper.sweep(dry_run=True)}


def test_nothing_of_a_living_lease_is_a_leftover(stage: Stage, program: App) -> None:
    instance = create(program, ttl="2d")
    name = f"s-{new_id()}"
    taken = program.snapshots.take(instance.id, name, ttl=2 * 86_400.0)
    one = branch(program, instance.id)
    found = look(program, ahead=timedelta(days=1))
    assert not {f"mcp-postgres-{instance.id}", f"mcp-postgres-{one.id}", taken.name} & found.keys()


def test_a_snapshot_whose_lease_is_over_is_a_leftover_unless_something_stands_on_it(program: App) -> None:
    instance = create(program)
    unused, used = f"s-{new_id()}", f"s-{new_id()}"
    for name in (unused, used):
        program.snapshots.take(instance.id, name, ttl=3600.0)
    branch(program, used)
    assert not {unused, used} & look(program, ahead=timedelta(minutes=50)).keys()
    found = look(program, ahead=timedelta(hours=2))
    assert (found[unused].kind, found[unused].reason) == ("snapshot image", "its lease is over")
    assert used not in found


def test_snapshots_beyond_the_ceiling_are_leftovers(program: App) -> None:
    instance = create(program)
    older, newest = f"s-{new_id()}", f"s-{new_id()}"
    program.snapshots.take(instance.id, older)
    program.snapshots.take(instance.id, newest)
    found = look(program, ahead=timedelta(0), max_snapshot_size=0)
    assert "max_snapshot_size" in found[older].reason
    assert newest not in found, "what was just taken is not taken away"


def test_what_is_beyond_its_longest_life_is_a_leftover(stage: Stage, program: App) -> None:
    hard_end = datetime.now(UTC) + timedelta(hours=1)
    container = start_prepared(stage, program.runtime, hard_end=hard_end)
    assert container.name not in look(program, ahead=timedelta(minutes=59))
    leftover = look(program, ahead=timedelta(minutes=61))[container.name]
    assert (leftover.kind, leftover.reason) == ("container", "it is beyond its longest life")


def test_a_paused_instance_whose_lease_is_over_is_a_leftover(stage: Stage, program: App) -> None:
    instance = create(program, ttl="1h")
    stage.pause(instance.container_id)
    name = f"mcp-postgres-{instance.id}"
    assert name not in look(program, ahead=timedelta(minutes=59))
    assert "paused" in look(program, ahead=timedelta(minutes=62))[name].reason


def test_a_look_removes_nothing(stage: Stage, program: App) -> None:
    instance = create(program, ttl="1h")
    taken = program.snapshots.take(instance.id, ttl=60.0)
    assert taken.name in look(program, ahead=timedelta(days=8))
    assert [one.id for one in owned(stage, program.runtime)] == [instance.id]
    assert taken in program.snapshots.list()


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_sweep_of_a_tidy_engine_finds_nothing_of_ours(stage: Stage, program: App, dry_run: bool) -> None:
    instance = create(program)
    taken = program.snapshots.take(instance.id)
    swept = {leftover.name for leftover in program.sweeper.sweep(dry_run=dry_run)}
    assert not {taken.name, f"mcp-postgres-{instance.id}"} & swept
    assert program.manager.get(instance.id) == instance
    assert taken in program.snapshots.list()
