"""A sweep removes what is over or was broken off, and nothing of a living lease, and nothing that is not ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import DeadlineExceeded, EngineDown, EngineFailed
from dev_postgres_mcp.instances import Policy, build_spec
from dev_postgres_mcp.instances.quota import Quota
from dev_postgres_mcp.instances.sweeping import Sweeper, sweep_quietly
from dev_postgres_mcp.model import Leftover
from dev_postgres_mcp.runtimes.base import Kind, Role
from dev_postgres_mcp.runtimes.memory import MemoryRuntime
from tests.helpers.acts import add_database, branch, conninfo_of, create, has_database
from tests.helpers.stages import PORTS, build_app, edit_container, patience, run_together

if TYPE_CHECKING:
    from pathlib import Path

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.runtimes.base import Container, Image
    from dev_postgres_mcp.runtimes.memory import MemoryWorld
    from tests.helpers.stages import MemoryStage

MEGABYTE = 1024**2
LONG_AGO = timedelta(hours=1)
IMAGE_SIZE = 5 * MEGABYTE


def past() -> datetime:
    return datetime.now(UTC) - LONG_AGO


def sweep(program: App) -> dict[str, str]:
    """Sweep after a look that has to find the same; return the reasons by name."""
    looked = program.sweeper.sweep(dry_run=True)
    swept = program.sweeper.sweep()
    assert swept == looked
    return {leftover.name: leftover.reason for leftover in swept}


def sweep_later(program: App, **later: float) -> dict[str, str]:
    policy = Policy(quota=Quota(max_instances=9, max_memory=9), create_timeout=60, pull_timeout=60)
    sweeper = Sweeper(program.runtime, policy, clock=lambda: datetime.now(UTC) + timedelta(**later))
    return {leftover.name: leftover.reason for leftover in sweeper.sweep()}


def names(program: App) -> list[str]:
    return [one.name for one in program.snapshots.list()]


def find(program: App, instance_id: str) -> Container:
    return program.manager.find(instance_id)


def test_a_tidy_engine_has_no_leftovers(app: App, world: MemoryWorld) -> None:
    instance = create(app)
    app.pool.fill(1, deadline=patience())
    app.snapshots.take(instance.id, "monday")
    branch(app, "monday")
    branch(app, instance.id)
    assert sweep(app) == {}
    assert len(world.bodies) == 4
    assert len(world.stored) == 3


@pytest.mark.parametrize("state", ["created", "exited", "dead"])
def test_what_never_started_is_removed_when_its_creator_had_time_enough(
    app: App, world: MemoryWorld, state: str
) -> None:
    old, young = create(app), create(app)
    for instance in (old, young):
        edit_container(world, instance.container_id, state=state)
    edit_container(world, old.container_id, ready_by=past())
    assert sweep(app) == {f"mcp-postgres-{old.id}": "its server never started, or has ended"}
    assert list(world.bodies) == [young.container_id]


def test_a_dead_server_stays_to_be_looked_at(app: App, world: MemoryWorld) -> None:
    instance = create(app)
    edit_container(world, instance.container_id, ready_by=past())
    world.kill(instance.container_id)
    assert sweep(app) == {}
    assert app.manager.get(instance.id).evidence is not None


class BrittleRuntime(MemoryRuntime):
    """An engine on which one image can be neither looked at nor removed."""

    broken = ""

    def find_image(self, ref: str, *, deadline: Deadline | None = None) -> Image | None:
        if ref == self.broken:
            raise EngineDown(f"the engine stopped answering while looking at {ref}")
        return super().find_image(ref, deadline=deadline)

    def remove_image(self, image_id: str, *, deadline: Deadline | None = None) -> bool:
        if image_id == self.broken:
            raise EngineFailed(f"the engine failed while removing {image_id}")
        return super().remove_image(image_id, deadline=deadline)


def test_an_image_that_is_broken_hinders_the_sweep_of_no_other(app: App, world: MemoryWorld) -> None:
    instance = create(app)
    for name in ("first", "second"):
        app.snapshots.take(instance.id, name, ttl=1)
    first, second = (one.image.image.id for one in world.stored.values() if one.image.kind is Kind.SNAPSHOT)
    policy = Policy(quota=Quota(max_instances=9, max_memory=9), create_timeout=60, pull_timeout=60)
    runtime = BrittleRuntime(world, PORTS)
    sweeper = Sweeper(runtime, policy, clock=lambda: datetime.now(UTC) + LONG_AGO)
    runtime.broken = first
    assert [leftover.name for leftover in sweeper.sweep()] == ["second"]
    assert first in world.stored
    assert second not in world.stored

    world.renew_image("postgres:17")
    app.manager.drop([instance.id])
    runtime.broken = "postgres:17"
    assert [leftover.name for leftover in sweeper.sweep()] == ["first"], "what cannot be judged stays"
    runtime.broken = ""
    assert [leftover.name for leftover in sweeper.sweep()] == ["postgres:17"]


def test_the_longest_life_holds_even_where_the_switch_was_stopped(app: App, world: MemoryWorld) -> None:
    """Whoever is superuser inside can rewrite the lease; the label cannot be rewritten."""
    world.ends_by_itself = False
    instance = create(app)
    edit_container(world, instance.container_id, hard_end=past())
    assert sweep(app) == {f"mcp-postgres-{instance.id}": "it is beyond its longest life"}
    assert world.bodies == {}


def test_a_moment_after_its_longest_life_a_switch_may_still_be_ending_it(
    app: App, world: MemoryWorld
) -> None:
    world.ends_by_itself = False
    instance = create(app)
    edit_container(world, instance.container_id, hard_end=datetime.now(UTC) - timedelta(seconds=5))
    assert sweep(app) == {}
    assert world.bodies


def test_a_paused_instance_is_removed_when_its_lease_is_over(
    memory_stage: MemoryStage, world: MemoryWorld
) -> None:
    app = build_app(memory_stage)
    over, living, endless = create(app, ttl="1h"), create(app, ttl="3h"), create(app, ttl="none")
    for instance in (over, living, endless):
        memory_stage.pause(instance.container_id)
    assert sweep_later(app, hours=2) == {f"mcp-postgres-{over.id}": "it is paused, and its lease is over"}
    assert set(world.bodies) == {living.container_id, endless.container_id}


def test_a_paused_instance_that_nobody_knows_is_left_alone(
    memory_stage: MemoryStage, world: MemoryWorld
) -> None:
    app = build_app(memory_stage)
    instance = create(app, ttl="1h")
    memory_stage.pause(instance.container_id)
    assert sweep_later(build_app(memory_stage), hours=2) == {}
    assert world.bodies


def test_a_broken_off_preparation_is_removed(app: App, world: MemoryWorld) -> None:
    instance = create(app)
    edit_container(world, instance.container_id, role=Role.PREPARING)
    assert sweep(app) == {}
    edit_container(world, instance.container_id, ready_by=past())
    assert sweep(app) == {f"mcp-postgres-prepare-{instance.id}": "the making of an image was broken off"}
    assert world.bodies == {}


def test_a_broken_off_restore_is_finished_when_the_old_one_is_gone(app: App, world: MemoryWorld) -> None:
    instance = create(app)
    edit_container(world, instance.container_id, role=Role.RESTORING, state="created")
    assert sweep(app) == {}, "its restorer may still be at it"
    edit_container(world, instance.container_id, ready_by=past())
    assert sweep(app) == {f"mcp-postgres-restore-{instance.id}": "a restore was broken off"}
    assert app.manager.get(instance.id).container_id == instance.container_id
    assert app.manager.health_check(instance.id).healthy


def test_a_broken_off_restore_is_taken_back_when_the_old_one_is_there(app: App, world: MemoryWorld) -> None:
    instance, restoring = create(app), create(app)
    edit_container(
        world, restoring.container_id, id=instance.id, role=Role.RESTORING, state="created", ready_by=past()
    )
    assert sweep(app) == {f"mcp-postgres-restore-{instance.id}": "a restore was broken off"}
    assert list(world.bodies) == [instance.container_id]
    assert app.manager.get(instance.id) == instance


def test_an_expired_snapshot_goes_unless_something_stands_on_it(app: App) -> None:
    instance = create(app)
    app.snapshots.take(instance.id, "unused", ttl=60.0)
    app.snapshots.take(instance.id, "used", ttl=60.0)
    app.snapshots.take(instance.id, "kept", ttl=86_400.0)
    app.snapshots.take(instance.id, "endless")
    one = branch(app, "used", ttl="none")
    assert sweep_later(app, hours=1) == {"unused": "its lease is over"}
    assert names(app) == ["used", "kept", "endless"]
    app.manager.drop([one.id])
    assert sweep_later(app, hours=1) == {"used": "its lease is over"}


def test_what_a_vanished_branch_stood_on_is_removed_after_a_while(app: App, world: MemoryWorld) -> None:
    instance = create(app)
    first = branch(app, instance.id)
    second = branch(app, instance.id)
    del world.bodies[first.container_id]
    assert sweep(app) == {}, "a branch may be about to start on it"
    found = sweep_later(app, minutes=5)
    assert list(found.values()) == ["its branch is gone"]
    assert find(app, second.id).image_id in world.stored


def test_a_prepared_image_goes_with_its_base(app: App, world: MemoryWorld) -> None:
    create(app, version="16")
    create(app, version="15")
    gone = create(app, version="14")
    app.manager.drop([gone.id])
    create(app)
    assert sweep(app) == {}
    for ref in ("postgres:16", "postgres:14"):
        world.renew_image(ref)
    assert sweep(app) == {"postgres:14": "its base image has changed or is gone"}, "16 is in use"
    del world.images["postgres:15"]
    assert sweep(app) == {}, "15 is in use"
    app.manager.drop_all()
    assert sorted(sweep(app)) == ["postgres:15", "postgres:16"]
    assert [stored.image.image.ref for stored in world.stored.values()] == ["postgres:17"]


def test_a_seed_is_kept_whatever_becomes_of_its_base(app: App, world: MemoryWorld, tmp_path: Path) -> None:
    (tmp_path / "a.sql").touch()
    init = build_spec(app.defaults, init=tmp_path / "a.sql").init
    app.images.prepare("postgres:17", seed="shop", init=init)
    world.renew_image("postgres:17")
    assert sweep(app) == {}
    assert [image.seed for image in app.images.list()] == ["shop"]


def test_a_seed_that_was_made_anew_leaves_its_older_self_to_the_sweep(
    app: App, world: MemoryWorld, tmp_path: Path
) -> None:
    (tmp_path / "a.sql").touch()
    init = build_spec(app.defaults, init=tmp_path / "a.sql").init
    older = app.images.prepare("postgres:17", seed="shop", init=init)
    newer = app.images.prepare("postgres:17", seed="shop", init=init)
    assert older.id != newer.id
    assert sweep(app) == {"shop": "a newer one has taken its name"}
    assert [image.id for image in app.images.list()] == [newer.id]


@pytest.mark.parametrize(
    "room, kept",
    [
        (10, ["first", "second", "third"]),
        (3, ["first", "second", "third"]),
        (2, ["second", "third"]),
        (1, ["third"]),
        (0, ["third"]),
    ],
)
def test_beyond_the_ceiling_the_oldest_snapshots_go_first(
    memory_stage: MemoryStage, room: int, kept: list[str]
) -> None:
    app = build_app(memory_stage, max_snapshot_size=room * IMAGE_SIZE)
    instance = create(app)
    for name in ("first", "second", "third"):
        app.snapshots.take(instance.id, name)
    found = sweep(app)
    assert names(app) == kept
    assert all("max_snapshot_size" in reason for reason in found.values())


def test_a_snapshot_in_use_and_the_newest_are_kept_beyond_the_ceiling(memory_stage: MemoryStage) -> None:
    app = build_app(memory_stage, max_snapshot_size=0)
    instance = create(app)
    for name in ("used", "unused", "newest"):
        app.snapshots.take(instance.id, name)
    branch(app, "used")
    sweep(app)
    assert names(app) == ["used", "newest"]


def test_a_look_removes_nothing_and_says_what_a_sweep_would(
    memory_stage: MemoryStage, world: MemoryWorld
) -> None:
    app = build_app(memory_stage, max_snapshot_size=0)
    instance = create(app)
    app.snapshots.take(instance.id, "monday")
    app.snapshots.take(instance.id, "tuesday")
    edit_container(world, create(app).container_id, state="created", ready_by=past())
    bodies, images = set(world.bodies), set(world.stored)
    looked = app.sweeper.sweep(dry_run=True)
    assert (set(world.bodies), set(world.stored)) == (bodies, images)
    assert [(one.kind, one.name) for one in looked][1] == ("snapshot image", "monday")
    assert app.sweeper.sweep() == looked
    assert app.sweeper.sweep() == ()


def test_an_image_under_a_swept_container_goes_in_the_same_sweep(app: App, world: MemoryWorld) -> None:
    instance = create(app)
    app.snapshots.take(instance.id, "monday", ttl=60.0)
    one = branch(app, "monday")
    edit_container(world, one.container_id, state="created", ready_by=past())
    assert set(sweep_later(app, hours=2)) == {"monday", f"mcp-postgres-{one.id}"}


def test_sweepers_at_once_do_not_hinder_each_other(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    app = build_app(memory_stage, max_snapshot_size=0)
    keeper = create(app)
    for number in range(10):
        app.snapshots.take(keeper.id, f"s{number}")
        edit_container(world, create(app).container_id, state="exited", ready_by=past())
    swept: list[Leftover] = []
    programs = [build_app(memory_stage, max_snapshot_size=0) for _ in range(6)]
    assert run_together(*(lambda one=one: swept.extend(one.sweeper.sweep()) for one in programs)) == []
    assert len(swept) == len(set(swept)) == 19, "each is told of by the one that removed it"
    assert list(world.bodies) == [keeper.container_id]


def test_a_sweep_beside_other_work_raises_nothing(app: App, world: MemoryWorld) -> None:
    world.down = True
    sweep_quietly(app.sweeper)
    with pytest.raises(EngineDown):
        app.sweeper.sweep()


def test_a_sweep_whose_time_is_over_leaves_the_rest_to_the_next(app: App, world: MemoryWorld) -> None:
    instance = create(app)
    edit_container(world, instance.container_id, state="created", ready_by=past())
    with pytest.raises(DeadlineExceeded):
        app.sweeper.sweep(deadline=Deadline(0))
    sweep_quietly(app.sweeper, deadline=Deadline(0))
    assert len(app.runtime.list()) == 1
    sweep_quietly(app.sweeper, deadline=patience())
    assert app.runtime.list() == ()


def test_data_survive_a_restore_that_a_sweep_finishes(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    app = build_app(memory_stage)
    instance = create(app)
    add_database(memory_stage, conninfo_of(instance), "mine")
    edit_container(world, instance.container_id, role=Role.RESTORING, state="created", ready_by=past())
    app.sweeper.sweep()
    assert has_database(memory_stage, conninfo_of(instance), "mine")
