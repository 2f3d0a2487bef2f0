"""How an instance comes to be: a spare, a prepared image or the plain one, and how long it may live."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev_postgres_mcp.app import assemble_app
from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import Cancelled, DeadlineExceeded, InitFailed, InvalidInput, LimitReached
from dev_postgres_mcp.instances import Policy, build_spec
from dev_postgres_mcp.instances.claiming import fits, lasts
from dev_postgres_mcp.instances.creation import Creator
from dev_postgres_mcp.instances.launches import end_after, in_seconds, start_lease
from dev_postgres_mcp.instances.observation import Observer
from dev_postgres_mcp.instances.quota import Quota
from dev_postgres_mcp.model import Lease
from dev_postgres_mcp.parsing import MAX_DURATION
from dev_postgres_mcp.runtimes.base import Kind, Role
from dev_postgres_mcp.runtimes.memory import MemoryRuntime
from tests.helpers.acts import conninfo_of, create, is_gone, start_spare
from tests.helpers.stages import (
    PORTS,
    MemoryStage,
    build_app,
    edit_container,
    owner_of,
    patience,
    run_together,
)

if TYPE_CHECKING:
    from pathlib import Path

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance, Progress
    from dev_postgres_mcp.runtimes.base import Container, Runtime
    from dev_postgres_mcp.runtimes.memory import MemoryWorld

NEVER = 10**9
SECONDS = st.floats(1, MAX_DURATION)
DAY = 86_400.0


@pytest.fixture
def runtime(memory_stage: MemoryStage) -> Runtime:
    return memory_stage.runtime()


def spare_of(stage: MemoryStage, program: App) -> Container:
    (spare,) = program.pool.fill(1, seconds=3600, deadline=patience()).spares
    return next(one for one in program.runtime.list() if one.id == spare.id)


# --- how long -------------------------------------------------------------------------------------


@given(SECONDS)
def test_an_end_is_a_whole_second_and_never_too_early(seconds: float) -> None:
    before = datetime.now(UTC)
    end = in_seconds(seconds)
    assert end.microsecond == 0
    assert before + timedelta(seconds=seconds) <= end <= datetime.now(UTC) + timedelta(seconds=seconds + 1)


@given(st.none() | SECONDS, st.none() | SECONDS)
def test_an_end_is_the_sooner_of_two(ttl: float | None, limit: float | None) -> None:
    hard_end = None if limit is None else in_seconds(limit)
    end = end_after(ttl, hard_end)
    if ttl is None:
        assert end == hard_end
    else:
        assert end is not None
        assert end <= in_seconds(ttl)
        assert hard_end is None or end <= hard_end


def test_a_lease_is_what_was_asked_for(app: App) -> None:
    spec = build_spec(app.defaults, ttl="1h", idle_timeout="10m")
    lease = start_lease(spec, None)
    assert lease.expires_at is not None
    assert 3600 <= (lease.expires_at - datetime.now(UTC)).total_seconds() + 1 <= 3602
    assert lease.idle_timeout == 600
    assert start_lease(build_spec(app.defaults, ttl="none"), None) == Lease()


@pytest.mark.parametrize("ttl, days", [("none", 7.0), ("30d", 7.0), ("2d", 2.0), (None, 1.0)])
def test_no_lease_goes_beyond_the_longest_life(
    memory_stage: MemoryStage, ttl: str | None, days: float
) -> None:
    instance = create(build_app(memory_stage), ttl=ttl)
    assert instance.lease.expires_at is not None
    lives = (instance.lease.expires_at - instance.created_at).total_seconds()
    assert days * DAY <= lives <= days * DAY + 2


def test_without_a_longest_life_an_instance_may_stay(memory_stage: MemoryStage) -> None:
    program = build_app(memory_stage, max_lifetime="none", ttl="none")
    instance = create(program)
    assert instance.lease == Lease()
    assert program.manager.extend(instance.id, ttl="3650d").lease.expires_at is not None


@pytest.mark.parametrize(
    "spare_end, wanted, long_enough",
    [
        (None, None, True),
        (None, 1.0, True),
        (2.0, 1.0, True),
        (1.0, 2.0, False),
        (7.0, 7.03, True),
        (7.0, 7.05, False),
        (7.0, None, False),
    ],
)
def test_a_spare_is_claimed_only_while_it_may_live_as_long_as_a_new_one(
    memory_stage: MemoryStage,
    runtime: Runtime,
    spare_end: float | None,
    wanted: float | None,
    long_enough: bool,
) -> None:
    now = datetime.now(UTC)
    ends = [None if days is None else now + timedelta(days=days) for days in (spare_end, wanted)]
    spare = replace(start_spare(memory_stage, runtime), hard_end=ends[0])
    assert lasts(spare, ends[1]) is long_enough


def test_an_old_spare_is_not_claimed(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    program = build_app(memory_stage)
    spare = spare_of(memory_stage, program)
    edit_container(world, spare.container_id, hard_end=datetime.now(UTC) + timedelta(hours=5))
    assert create(program).id != spare.id
    assert create(program, ttl="4h").id == spare.id


# --- which image ----------------------------------------------------------------------------------


def test_where_images_cannot_be_made_the_plain_one_does(app: App, world: MemoryWorld) -> None:
    world.can_commit = False
    told: list[Progress] = []
    instance = app.manager.create(build_spec(app.defaults, database="shop"), progress=told.append)
    assert [progress.message for progress in told] == ["starting postgres:17", "waiting for the first login"]
    container = app.manager.find(instance.id)
    assert container.image_id == container.base_id
    assert container.image_kind is None
    assert app.runtime.images() == ()
    assert app.manager.health_check(instance.id).healthy


def test_an_image_that_cannot_be_prepared_is_used_as_it_is_and_that_is_told(
    app: App, world: MemoryWorld
) -> None:
    world.can_prepare = False
    told: list[Progress] = []
    instance = app.manager.create(build_spec(app.defaults, username="me"), progress=told.append)
    assert any("going on without a prepared image" in progress.message for progress in told)
    container = app.manager.find(instance.id)
    assert container.image_id == container.base_id
    assert app.manager.health_check(instance.id).healthy


def test_a_cluster_is_prepared_once_for_all(app: App) -> None:
    containers = [app.manager.find(create(app, database=name).id) for name in ("a", "b", "postgres")]
    assert {one.image_kind for one in containers} == {Kind.PREPARED}
    assert len({one.image_id for one in containers}) == 1
    assert len(app.runtime.images()) == 1


def test_scripts_run_on_the_plain_image(app: App, world: MemoryWorld, tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("SELECT 1", encoding="utf-8")
    instance = create(app, init=tmp_path / "a.sql", database="shop")
    assert app.manager.find(instance.id).image_kind is None
    assert world.bodies[instance.container_id].cluster.databases["shop"] == ("a.sql",)
    assert app.runtime.images() == ()


def test_a_seed_that_is_not_there_is_refused_with_how_to_make_it(app: App, world: MemoryWorld) -> None:
    with pytest.raises(InvalidInput, match="no seed 'shop' for postgres:17") as caught:
        create(app, seed="shop")
    assert "image prepare --seed shop" in caught.value.hint
    assert world.bodies == {}


@pytest.mark.parametrize("database", ["postgres", "sales"])
def test_what_a_seed_holds_is_in_the_database_that_was_asked_for(
    app: App, world: MemoryWorld, tmp_path: Path, database: str
) -> None:
    (tmp_path / "a.sql").write_text("CREATE TABLE t ()", encoding="utf-8")
    init = build_spec(app.defaults, init=tmp_path / "a.sql").init
    app.images.prepare("postgres:17", seed="shop", init=init)
    instance = create(app, seed="shop", database=database, username="me")
    assert world.bodies[instance.container_id].cluster.databases[database] == ("a.sql",)
    assert app.manager.health_check(instance.id).healthy
    plain = create(app)
    assert world.bodies[plain.container_id].cluster.databases["postgres"] == ()


# --- claims ---------------------------------------------------------------------------------------


def test_of_two_who_want_one_spare_both_get_a_server(memory_stage: MemoryStage) -> None:
    program = build_app(memory_stage)
    for _ in range(20):
        spare = spare_of(memory_stage, program)
        created: list[Instance] = []
        creators = [build_app(memory_stage) for _ in range(2)]

        def add(creator: App, created: list[Instance] = created) -> None:
            created.append(create(creator))

        assert run_together(*(lambda one=one, add=add: add(one) for one in creators)) == []
        assert [one.id for one in created].count(spare.id) == 1
        assert len({one.endpoint.port for one in created}) == 2
        for instance in created:
            memory_stage.sql.login(conninfo_of(instance))


def test_a_spare_that_does_not_answer_is_put_away(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    program = build_app(memory_stage)
    spare = spare_of(memory_stage, program)
    world.bodies[spare.container_id].logins_until_ready = NEVER
    instance = create(program)
    assert instance.id != spare.id
    assert is_gone(program.runtime, spare)
    assert list(world.bodies) == [instance.container_id]


def test_a_hung_spare_stops_no_create(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    program = build_app(memory_stage)
    spare = spare_of(memory_stage, program)
    world.hung = {spare.container_id}
    assert create(build_app(memory_stage)).id != spare.id


def test_a_claim_that_fails_halfway_is_undone(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    """The extension comes last: record, names and password are changed already."""
    program = build_app(memory_stage)
    spare_of(memory_stage, program)
    with pytest.raises(InitFailed, match="nonsense"):
        create(program, database="shop", username="me", extensions=["hstore", "nonsense"])
    assert world.bodies == {}


def test_a_spare_whose_record_is_somebody_elses_is_left_alone(
    memory_stage: MemoryStage, world: MemoryWorld
) -> None:
    program = build_app(memory_stage)
    spare = spare_of(memory_stage, program)
    body = world.bodies[spare.container_id]
    body.record = replace(body.record, id="somebodyelse")
    assert create(build_app(memory_stage)).id != spare.id
    assert not is_gone(program.runtime, spare)


def test_a_spare_that_is_not_ready_yet_is_left_alone(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    program = build_app(memory_stage)
    spare = spare_of(memory_stage, program)
    edit_container(world, spare.container_id, role=Role.WARMING)
    assert create(program).id != spare.id
    assert not is_gone(program.runtime, spare)


@pytest.mark.parametrize("state", ["paused", "created", "exited"])
def test_a_spare_that_does_not_run_is_left_alone(
    memory_stage: MemoryStage, world: MemoryWorld, state: str
) -> None:
    program = build_app(memory_stage)
    spare = spare_of(memory_stage, program)
    edit_container(world, spare.container_id, state=state)
    assert create(program).id != spare.id
    assert not is_gone(program.runtime, spare)


def test_a_cancelled_create_takes_no_spare(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    program = build_app(memory_stage)
    spare = spare_of(memory_stage, program)
    deadline = patience()
    deadline.cancel()
    with pytest.raises(Cancelled):
        program.manager.create(build_spec(program.defaults), deadline=deadline)
    with pytest.raises(DeadlineExceeded):
        program.manager.create(build_spec(program.defaults), deadline=Deadline(0))
    assert [one.role for one in program.runtime.list()] == [Role.SPARE]
    assert not is_gone(program.runtime, spare)


def test_spares_count_towards_no_ceiling_until_they_are_claimed(memory_stage: MemoryStage) -> None:
    program = build_app(memory_stage, max_instances=1, max_total_memory="512m")
    program.pool.fill(3, deadline=patience())
    create(program)
    with pytest.raises(LimitReached):
        create(program)
    assert len(program.pool.status().spares) == 2


@pytest.mark.parametrize("theirs, ours", [("1", "2"), ("2", "1")], ids=["older", "newer"])
def test_a_spare_of_another_version_of_the_program_is_left_to_that(
    memory_stage: MemoryStage, world: MemoryWorld, theirs: str, ours: str
) -> None:
    program = build_app(memory_stage)
    world.contract = theirs
    spare = spare_of(memory_stage, program)
    world.contract = ours
    instance = create(program)
    assert instance.id != spare.id
    assert contract_of(program, instance) == ours
    assert not is_gone(program.runtime, spare)
    assert len(program.pool.fill(1, deadline=patience()).spares) == 2, "it is no spare to us"
    assert contract_of(program, create(program)) == ours
    world.contract = theirs
    assert create(program).id == spare.id


def contract_of(program: App, instance: Instance) -> str:
    return program.manager.find(instance.id).contract


class CrowdedRuntime(MemoryRuntime):
    """Somebody else is always a moment faster than a claim."""

    others: list[Instance]

    def claim(self, container: Container, *, deadline: Deadline) -> Container | None:
        self.others.append(create(build_app(MemoryStage(self._world)), memory="300m"))
        return super().claim(container, deadline=deadline)


@pytest.mark.parametrize("ceiling", [{"max_instances": 1}, {"max_total_memory": "800m"}], ids=repr)
def test_a_claim_keeps_to_the_ceilings_also_when_somebody_was_faster(
    memory_stage: MemoryStage, world: MemoryWorld, ceiling: dict[str, Any]
) -> None:
    spare_of(memory_stage, build_app(memory_stage))
    runtime = CrowdedRuntime(world, PORTS)
    runtime.others = []
    program = assemble_app(
        build_app(memory_stage, **ceiling).settings,
        runtime=runtime,
        sql=memory_stage.sql,
        owner=owner_of(memory_stage),
    )
    with pytest.raises(LimitReached):
        create(program)
    assert [body.container.id for body in world.bodies.values()] == [runtime.others[0].id]


def test_what_fits_is_of_the_same_image_and_limits(memory_stage: MemoryStage) -> None:
    program = build_app(memory_stage)
    spare = spare_of(memory_stage, program)
    base = program.runtime.find_image("postgres:17")
    other = program.runtime.find_image("postgres:16")
    assert base is not None
    assert other is not None
    spec = build_spec(program.defaults, database="shop", username="me", ttl="1h", name="x")
    assert fits(spare, spec, base, contract="memory")
    assert fits(spare, spec, base, contract=""), "where there was only ever one"
    assert not fits(spare, spec, base, contract="of another program")
    assert not fits(spare, spec, other, contract="memory")
    assert not fits(spare, build_spec(program.defaults, memory="300m"), base, contract="memory")
    assert not fits(spare, build_spec(program.defaults, cpus=0.5), base, contract="memory")


def test_an_image_that_was_pulled_anew_gets_new_spares(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    program = build_app(memory_stage)
    spare = spare_of(memory_stage, program)
    world.renew_image("postgres:17")
    assert create(program).id != spare.id


def test_it_is_quiet_when_no_create_runs(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    runtime, sql = memory_stage.runtime(), memory_stage.sql
    policy = Policy(quota=Quota(max_instances=9, max_memory=10**12), create_timeout=60, pull_timeout=60)
    creator = Creator(runtime, sql, Observer(runtime, sql), policy)
    creator.wait_quiet(Deadline(30))
    noisy: list[type[Exception]] = []

    def listen(progress: Progress) -> None:
        if "login" in progress.message:
            noisy.extend(type(error) for error in run_together(lambda: creator.wait_quiet(Deadline(0.1))))

    creator.create(build_spec(build_app(memory_stage).defaults), progress=listen, deadline=patience())
    assert noisy == [DeadlineExceeded]
    creator.wait_quiet(Deadline(30))
