"""The warm pool and its keeper, above all what is hard to bring about on a real engine."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.errors import Cancelled, EngineDown, LimitReached, ServerNotReady
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.runtimes.base import Role
from dev_postgres_mcp.runtimes.memory import MemoryWorld
from tests.helpers.acts import conninfo_of, create
from tests.helpers.stages import MemoryStage, build_app, edit_container, patience, run_together, wait_until

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Progress
    from dev_postgres_mcp.runtimes.base import Container

NEVER = 10**9
GIGABYTE = 1024**3


def spares(program: App) -> list[Container]:
    return [one for one in program.runtime.list() if one.role is Role.SPARE]


def ends(world: MemoryWorld) -> list[datetime | None]:
    return [body.spare_until for body in world.bodies.values()]


def test_an_image_that_is_not_there_is_not_pulled_for_a_spare(
    memory_stage: MemoryStage, world: MemoryWorld
) -> None:
    program = build_app(memory_stage, image_repository="nobody/has-it")
    assert program.pool.fill(deadline=patience()).spares == ()
    assert "nobody/has-it:17" not in world.images


def test_a_spare_is_of_the_default_size_and_under_names_that_sql_can_change(
    app: App, world: MemoryWorld
) -> None:
    app.pool.fill(1, deadline=patience())
    (body,) = world.bodies.values()
    assert (body.record.database, body.record.username) == ("postgres", "postgres")
    assert body.container.limits == app.defaults.limits
    assert body.lease is None
    assert body.spare_until is not None
    assert body.container.hard_end is not None


def test_every_spare_has_a_password_of_its_own(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    program = build_app(memory_stage, password="of the settings")
    program.pool.fill(3, deadline=patience())
    passwords = {body.record.password.reveal() for body in world.bodies.values()}
    assert len(passwords) == 3
    assert "of the settings" not in passwords
    assert conninfo_of(create(program)).password.reveal() == "of the settings"


def test_a_spare_lives_as_long_as_was_asked_for(app: App, world: MemoryWorld) -> None:
    app.pool.fill(1, seconds=3600, deadline=patience())
    (end,) = ends(world)
    assert end is not None
    assert 3590 < (end - datetime.now(UTC)).total_seconds() <= 3600


def test_what_nobody_renews_ends_by_itself(app: App, world: MemoryWorld) -> None:
    app.pool.fill(2, deadline=patience())
    world.ahead = timedelta(minutes=10)
    assert app.pool.status().spares == ()
    assert world.bodies == {}


def test_renewed_spares_live_on(app: App, world: MemoryWorld) -> None:
    app.pool.fill(2, deadline=patience())
    before = ends(world)
    app.pool.renew(deadline=patience())
    after = ends(world)
    assert all(
        new is not None and old is not None and new >= old for new, old in zip(after, before, strict=True)
    )


def test_the_spares_of_others_are_not_renewed(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    program = build_app(memory_stage)
    program.pool.fill(1, deadline=patience())
    (spare,) = spares(program)
    edit_container(world, spare.container_id, maker="somebody")
    before = ends(world)
    program.pool.renew(deadline=patience())
    assert ends(world) == before


def test_a_spare_too_old_to_be_claimed_is_not_renewed_and_another_takes_its_place(
    memory_stage: MemoryStage, world: MemoryWorld
) -> None:
    program = build_app(memory_stage)
    program.pool.fill(1, deadline=patience())
    (old,) = spares(program)
    edit_container(world, old.container_id, hard_end=datetime.now(UTC) + timedelta(hours=2))
    before = world.bodies[old.container_id].spare_until
    program.pool.renew(deadline=patience())
    assert world.bodies[old.container_id].spare_until == before
    program.pool.fill(1, deadline=patience())
    assert len(spares(program)) == 2
    assert create(program).id != old.id


def test_what_cannot_be_renewed_hinders_no_other(app: App, world: MemoryWorld) -> None:
    app.pool.fill(2, deadline=patience())
    first, second = spares(app)
    edit_container(world, first.container_id, state="paused")
    before = world.bodies[second.container_id].spare_until
    app.pool.renew(deadline=patience())
    after = world.bodies[second.container_id].spare_until
    assert after is not None
    assert before is not None
    assert after >= before


def test_a_spare_takes_no_more_than_its_share_of_what_is_free(
    memory_stage: MemoryStage, world: MemoryWorld
) -> None:
    world.memory = 4 * GIGABYTE
    program = build_app(memory_stage, pool_memory_share=0.25, memory="512m")
    with pytest.raises(LimitReached, match=r"512 MB is more than 25% of the 1\.5 GB") as caught:
        program.pool.fill(100, deadline=patience())
    assert "pool_memory_share" in caught.value.hint
    assert len(spares(program)) == 5
    assert create(program).id, "a create that somebody waits for has no such limit"


def test_an_empty_pool_says_why_and_what_to_change(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    assert "setting `pool_size`" in build_app(memory_stage, pool_size=0).pool.status().reason
    absent = build_app(memory_stage, image_repository="nobody/has-it").pool.status()
    assert absent.reason.startswith("nobody/has-it:17 is not there yet")
    program = build_app(memory_stage, pool_memory_share=0.25)
    assert "`mcp serve`" in program.pool.status().reason
    world.memory = GIGABYTE
    assert program.pool.status().reason == (
        "a spare of 512 MB is more than 25% of the 1 GB that are free on the engine: "
        "drop an instance, or raise the setting `pool_memory_share`"
    )
    world.memory = 0
    assert program.pool.fill(1, deadline=patience()).reason == ""
    (spare,) = spares(program)
    edit_container(world, spare.container_id, role=Role.WARMING)
    assert "being started" in program.pool.status().reason


def test_somebody_elses_spare_is_no_reason_to_be_content(memory_stage: MemoryStage) -> None:
    build_app(memory_stage, memory="300m").pool.fill(1, deadline=patience())
    status = build_app(memory_stage).pool.status()
    assert len(status.spares) == 1
    assert status.reason


def test_an_engine_that_does_not_tell_its_memory_sets_no_limit(app: App, world: MemoryWorld) -> None:
    world.memory = 0
    assert len(app.pool.fill(20, deadline=patience()).spares) == 20


def test_a_spare_that_never_answers_is_taken_back(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    program = build_app(memory_stage, create_timeout=0.2)
    program.pool.fill(0, deadline=patience())
    world.logins_until_ready = NEVER
    with pytest.raises(ServerNotReady):
        program.pool.fill(1, deadline=patience())
    assert world.bodies == {}


def test_a_cancelled_filling_leaves_what_was_finished(app: App, world: MemoryWorld) -> None:
    app.pool.fill(2, deadline=patience())
    deadline = patience()
    deadline.cancel()
    with pytest.raises(Cancelled):
        app.pool.fill(5, deadline=deadline)
    assert len(world.bodies) == 2


def test_a_spare_cannot_be_taken_away_from_under_its_filler(memory_stage: MemoryStage) -> None:
    """Creators and fillers at once: whatever is offered answers, and whatever was claimed stays."""
    program = build_app(memory_stage)
    created: list[str] = []

    def create_often() -> None:
        mine = build_app(memory_stage)
        for _ in range(10):
            instance = create(mine)
            memory_stage.sql.login(conninfo_of(instance))
            created.append(instance.id)

    def fill_often() -> None:
        mine = build_app(memory_stage)
        for _ in range(20):
            mine.pool.fill(2, deadline=patience())

    assert run_together(*[create_often] * 4, *[fill_often] * 3) == []
    there = {instance.id for instance in program.manager.list().instances}
    assert there == set(created)
    assert len(created) == 40


def test_draining_removes_everybodys_spares_and_no_instance(
    memory_stage: MemoryStage, world: MemoryWorld
) -> None:
    program = build_app(memory_stage)
    instance = create(program)
    program.pool.fill(3, deadline=patience())
    first, second, third = spares(program)
    edit_container(world, first.container_id, maker="somebody")
    edit_container(world, second.container_id, role=Role.WARMING)
    assert set(program.pool.drain()) == {first.id, second.id, third.id}
    assert list(world.bodies) == [instance.container_id]


def test_a_keeper_fills_nothing_while_a_create_runs(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    program = build_app(memory_stage, pool_size=2)
    keeping = threading.Event()
    seen: list[int] = []

    def watch(progress: Progress) -> None:
        if "login" in progress.message and not keeping.is_set():
            keeping.set()
            program.keeper.start()
            wait_until(lambda: threading.active_count() > 1)
            seen.append(len(spares(program)))

    program.manager.create(build_spec(program.defaults), progress=watch)
    try:
        assert seen == [0]
        wait_until(lambda: len(spares(program)) == 2)
    finally:
        program.keeper.stop(30)
    assert spares(program) == []
    assert len(world.bodies) == 1


def test_a_keeper_outlives_an_engine_that_is_down(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    program = build_app(memory_stage, pool_size=1)
    world.down = True
    program.keeper.start()
    try:
        with pytest.raises(EngineDown):
            program.pool.status()
        world.down = False
        program.keeper.refill()
        wait_until(lambda: spares(program))
    finally:
        program.keeper.stop(30)
    assert world.bodies == {}


class DefectiveWorld(MemoryWorld):
    """An engine about which there is a mistake in our own program."""

    defective = True

    def check_up(self, deadline: Deadline | None = None) -> None:
        if self.defective:
            raise ZeroDivisionError("a mistake of ours")
        super().check_up(deadline)


def test_a_keeper_outlives_a_mistake_of_ours_and_tells_of_it(caplog: pytest.LogCaptureFixture) -> None:
    world = DefectiveWorld(images=["postgres:17"])
    program = build_app(MemoryStage(world), pool_size=1)
    program.keeper.start()
    try:
        wait_until(lambda: "ZeroDivisionError" in caplog.text)
        world.defective = False
        program.keeper.refill()
        wait_until(lambda: spares(program))
    finally:
        program.keeper.stop(30)
    (record,) = [one for one in caplog.records if one.exc_info]
    assert record.levelname == "ERROR"
    assert "the keeper of the pool met a defect, and goes on in 2 s" in record.getMessage()
    assert world.bodies == {}


def test_a_keeper_that_waits_after_a_mistake_can_be_stopped(caplog: pytest.LogCaptureFixture) -> None:
    world = DefectiveWorld()
    program = build_app(MemoryStage(world), pool_size=1)
    program.keeper.start()
    wait_until(lambda: "ZeroDivisionError" in caplog.text)
    world.defective = False
    program.keeper.stop(1)
    assert "keeper" not in {thread.name for thread in threading.enumerate()}


def test_a_keeper_without_a_pool_only_sweeps(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    program = build_app(memory_stage, pool_size=0)
    left = create(program)
    edit_container(world, left.container_id, state="created", ready_by=datetime.now(UTC) - timedelta(hours=1))
    program.keeper.start()
    try:
        wait_until(lambda: not world.bodies)
    finally:
        program.keeper.stop(30)


def test_a_keeper_that_never_started_can_be_stopped(app: App, world: MemoryWorld) -> None:
    app.pool.fill(1, deadline=patience())
    app.keeper.stop(1)
    assert world.bodies == {}


def test_a_keeper_that_stops_takes_back_what_it_is_starting(
    memory_stage: MemoryStage, world: MemoryWorld
) -> None:
    program = build_app(memory_stage, pool_size=1)
    create(program)
    world.logins_until_ready = NEVER
    program.keeper.start()
    wait_until(lambda: len(world.bodies) == 2)
    program.keeper.stop(30)
    assert len(world.bodies) == 1
