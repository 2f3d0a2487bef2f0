"""The verbs over the in-memory world, above all what is hard to bring about on a real engine."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import (
    AmbiguousReference,
    Cancelled,
    DeadlineExceeded,
    DevPostgresError,
    EngineDown,
    ImageNotFound,
    InitFailed,
    InstanceNotFound,
    InvalidInput,
    LimitReached,
    ServerNotReady,
)
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.instances.launches import plan_launch
from dev_postgres_mcp.model import Outcome, Progress, Secret, Status
from dev_postgres_mcp.runtimes.base import Image, ProviderFacts
from tests.helpers.acts import create
from tests.helpers.stages import MEGABYTE, build_app, edit_container, patience, run_together

if TYPE_CHECKING:
    from pathlib import Path

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance
    from dev_postgres_mcp.runtimes.memory import MemoryWorld
    from tests.helpers.stages import MemoryStage

NEVER = 10**9
WORD = "hunter2-nobody-may-see-this"


def test_a_create_waits_until_a_login_works(app: App, world: MemoryWorld) -> None:
    world.logins_until_ready = 3
    instance = create(app)
    assert instance.status is Status.READY
    assert world.bodies[instance.container_id].logins_until_ready == 0


def test_a_create_tells_what_it_does(app: App) -> None:
    told: list[Progress] = []
    app.manager.create(build_spec(app.defaults), progress=told.append)
    steps = ["starting postgres:17", "waiting for the first login"]
    assert [progress.message for progress in told] == ["preparing postgres:17 once", *steps]
    told.clear()
    app.manager.create(build_spec(app.defaults), progress=told.append)
    assert [progress.message for progress in told] == steps, "once for all that follow"


def test_an_image_that_is_there_is_never_pulled(app: App, world: MemoryWorld) -> None:
    told: list[Progress] = []
    app.manager.create(build_spec(app.defaults), progress=told.append)
    assert not any("pulling" in progress.message for progress in told)


def test_an_absent_image_is_pulled_once_with_progress(app: App, world: MemoryWorld) -> None:
    told: list[Progress] = []
    spec = build_spec(app.defaults, image="pgvector/pgvector:pg17")
    app.manager.create(spec, progress=told.append)
    assert told[0] == Progress(
        message="pulling pgvector/pgvector:pg17: 1 of 1 layers", done=MEGABYTE, total=MEGABYTE
    )
    told.clear()
    app.manager.create(spec, progress=told.append)
    assert not any("pulling" in progress.message for progress in told)


def test_an_image_that_no_registry_has_starts_nothing(app: App, world: MemoryWorld) -> None:
    with pytest.raises(ImageNotFound, match="nobody/nothing:1"):
        create(app, image="nobody/nothing:1")
    assert world.bodies == {}


def test_a_server_that_exits_while_starting_fails_at_once(app: App, world: MemoryWorld) -> None:
    world.dies_at_start = True
    with pytest.raises(ServerNotReady, match="exited before it was ready") as caught:
        create(app)
    assert type(caught.value) is ServerNotReady
    assert caught.value.evidence is not None
    assert caught.value.evidence.exit_code == 1
    assert caught.value.evidence.log_tail
    assert "exit code 1" in caught.value.explain()
    assert world.bodies == {}


def test_a_server_that_runs_out_of_memory_while_starting_says_so(app: App, world: MemoryWorld) -> None:
    world.logins_until_ready = NEVER

    def kill_while_it_starts(progress: Progress) -> None:
        if "login" in progress.message:
            (container_id,) = world.bodies
            world.kill(container_id, exit_code=137, oom_killed=True)

    with pytest.raises(ServerNotReady) as caught:
        app.manager.create(build_spec(app.defaults), progress=kill_while_it_starts)
    assert "exit code 137, out of memory (OOM)" in caught.value.explain()
    assert world.bodies == {}


def test_a_failed_init_script_is_told_from_a_failed_server(
    app: App, world: MemoryWorld, tmp_path: Path
) -> None:
    (tmp_path / "a.sql").write_text("SELECT 1/0;", encoding="utf-8")
    world.dies_at_start = True
    with pytest.raises(InitFailed, match="init script") as caught:
        create(app, init=tmp_path / "a.sql")
    assert "psql" in caught.value.hint
    assert world.bodies == {}


def test_extensions_are_created(app: App, world: MemoryWorld) -> None:
    instance = create(app, extensions=["hstore", "pg_trgm"])
    assert world.bodies[instance.container_id].cluster.databases["postgres"] == ("hstore", "pg_trgm")


def test_a_failed_extension_leaves_nothing(app: App, world: MemoryWorld) -> None:
    with pytest.raises(InitFailed, match="'nonsense'"):
        create(app, extensions=["hstore", "nonsense"])
    assert world.bodies == {}


def test_a_server_that_never_answers_ends_with_the_deadline_and_is_gone(
    memory_stage: MemoryStage, world: MemoryWorld
) -> None:
    world.logins_until_ready = NEVER
    program = build_app(memory_stage, create_timeout=0.2)
    with pytest.raises(
        ServerNotReady, match=r"did not accept a login within .*: the database system is starting up"
    ) as c:
        create(program)
    assert "create_timeout" in c.value.hint
    assert c.value.evidence is not None
    assert world.bodies == {}


def test_a_callers_own_deadline_counts_too(app: App, world: MemoryWorld) -> None:
    world.logins_until_ready = NEVER
    with pytest.raises(DevPostgresError) as caught:
        app.manager.create(build_spec(app.defaults), deadline=Deadline(0.2))
    assert type(caught.value) in {ServerNotReady, DeadlineExceeded}
    assert world.bodies == {}


def test_a_deadline_that_has_passed_starts_nothing(app: App, world: MemoryWorld) -> None:
    with pytest.raises(DeadlineExceeded):
        app.manager.create(build_spec(app.defaults), deadline=Deadline(0))
    assert world.bodies == {}


def test_a_create_that_is_cancelled_from_another_thread_leaves_nothing(app: App, world: MemoryWorld) -> None:
    world.logins_until_ready = NEVER
    deadline, waiting = patience(), threading.Event()
    raised: list[Exception] = []

    def create_it() -> None:
        def tell(progress: Progress) -> None:
            if "login" in progress.message:
                waiting.set()

        raised.extend(
            run_together(
                lambda: app.manager.create(build_spec(app.defaults), progress=tell, deadline=deadline)
            )
        )

    creator = threading.Thread(target=create_it)
    creator.start()
    assert waiting.wait(timeout=10)
    deadline.cancel()
    creator.join(timeout=10)
    assert not creator.is_alive()
    assert [type(error) for error in raised] == [Cancelled]
    assert world.bodies == {}


def test_an_interrupt_in_mid_create_leaves_nothing(app: App, world: MemoryWorld) -> None:
    def interrupt(progress: Progress) -> None:
        if "login" in progress.message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        app.manager.create(build_spec(app.defaults), progress=interrupt)
    assert world.bodies == {}


def test_an_engine_that_goes_down_in_mid_create_is_what_is_told(app: App, world: MemoryWorld) -> None:
    def unplug(progress: Progress) -> None:
        world.down = "login" in progress.message

    world.logins_until_ready = NEVER
    with pytest.raises(EngineDown):
        app.manager.create(build_spec(app.defaults), progress=unplug)
    world.down = False
    assert [instance.id for instance in app.manager.list().instances] == [
        body.container.id for body in world.bodies.values()
    ], "what could not be undone is listed"


def test_a_full_engine_refuses_before_the_start(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    program = build_app(memory_stage, max_instances=2)
    create(program)
    create(program)
    with pytest.raises(LimitReached, match="there are 2 instances already"):
        create(program)
    assert len(world.bodies) == 2


def test_a_full_memory_refuses_before_the_start(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    program = build_app(memory_stage, max_total_memory="1g")
    create(program)
    create(program)
    with pytest.raises(LimitReached, match="1 GB of 1 GB are given out"):
        create(program, memory="64m")
    assert len(world.bodies) == 2


def test_creators_at_once_never_pass_the_ceiling(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    program = build_app(memory_stage, max_instances=3)
    raised = run_together(*[lambda: create(program)] * 12)
    assert {type(error) for error in raised} <= {LimitReached}
    assert len(world.bodies) + len(raised) == 12
    assert 1 <= len(world.bodies) <= 3


def test_one_that_came_too_late_takes_itself_back(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    """Both looked while there was room; the older stays."""
    program = build_app(memory_stage, max_instances=1)
    older: list[Instance] = []

    def overtake(progress: Progress) -> None:
        if progress.message.startswith("starting"):
            older.append(create(program))

    with pytest.raises(LimitReached):
        program.manager.create(build_spec(program.defaults), progress=overtake)
    assert [body.container.id for body in world.bodies.values()] == [older[0].id]


def test_a_list_sums_up_what_is_given_out(memory_stage: MemoryStage) -> None:
    program = build_app(memory_stage, max_instances=7, max_total_memory="4g")
    first, second = create(program, memory="300m"), create(program, memory="200m")
    listing = program.manager.list()
    assert [instance.id for instance in listing.instances] == [first.id, second.id]
    assert (listing.memory, listing.max_instances, listing.max_memory) == (500 * MEGABYTE, 7, 4096 * MEGABYTE)


def test_a_server_that_has_just_started_is_starting(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    instance = create(build_app(memory_stage))
    world.bodies[instance.container_id].logins_until_ready = NEVER
    seen = build_app(memory_stage).manager.get(instance.id)
    assert seen.status is Status.STARTING
    assert seen.hint


def test_a_server_that_stays_silent_is_unhealthy_with_the_reason(
    memory_stage: MemoryStage, world: MemoryWorld
) -> None:
    instance = create(build_app(memory_stage))
    world.bodies[instance.container_id].logins_until_ready = NEVER
    edit_container(world, instance.container_id, ready_by=instance.created_at)
    health = build_app(memory_stage).manager.health_check(instance.id)
    assert not health.healthy
    assert health.instance.status is Status.UNHEALTHY
    assert "the database system is starting up" in health.hint


@pytest.mark.parametrize(
    "state, age, status, word",
    [
        ("running", 0, Status.READY, ""),
        ("paused", 0, Status.UNHEALTHY, "is paused"),
        ("created", 0, Status.STARTING, "ask again"),
        ("created", 60, Status.STARTING, "broken off"),
        ("exited", 0, Status.EXITED, "drop it"),
        ("dead", 0, Status.EXITED, "drop it"),
    ],
)
def test_the_state_of_a_container_is_a_status_with_a_hint(
    memory_stage: MemoryStage, world: MemoryWorld, state: str, age: int, status: Status, word: str
) -> None:
    instance = create(build_app(memory_stage))
    edit_container(
        world,
        instance.container_id,
        state=state,
        ready_by=instance.created_at + timedelta(seconds=60 - age),
    )
    manager = build_app(memory_stage).manager
    for seen in (
        manager.get(instance.id),
        manager.list().instances[0],
        manager.health_check(instance.id).instance,
    ):
        assert seen.status is status
        assert word in seen.hint


@pytest.mark.parametrize("state", ["paused", "exited"])
def test_hints_name_no_command_of_an_engine_that_is_not_there(
    memory_stage: MemoryStage, world: MemoryWorld, state: str
) -> None:
    instance = create(build_app(memory_stage))
    edit_container(world, instance.container_id, state=state)
    hint = build_app(memory_stage).manager.get(instance.id).hint
    assert hint
    assert "docker" not in hint


def test_a_server_may_be_silent_as_long_as_its_own_create_may_take(
    memory_stage: MemoryStage, world: MemoryWorld
) -> None:
    instance = create(build_app(memory_stage, create_timeout=300))
    container = build_app(memory_stage).runtime.inspect(instance.container_id)
    assert container.ready_by - container.created_at == timedelta(seconds=300)
    world.bodies[instance.container_id].logins_until_ready = NEVER
    edit_container(world, instance.container_id, ready_by=datetime.now(UTC) + timedelta(seconds=30))
    assert build_app(memory_stage).manager.get(instance.id).status is Status.STARTING
    edit_container(world, instance.container_id, ready_by=datetime.now(UTC) - timedelta(seconds=1))
    assert build_app(memory_stage).manager.get(instance.id).status is Status.UNHEALTHY


def test_a_bad_init_is_refused_before_the_engine_is_asked(
    app: App, world: MemoryWorld, tmp_path: Path
) -> None:
    world.down = True
    with pytest.raises(InvalidInput, match="does not exist"):
        create(app, init=tmp_path / "nowhere.sql")


def test_who_is_about_to_be_dropped_is_shown_with_id_and_name(app: App, world: MemoryWorld) -> None:
    shop, nameless = create(app, name="shop"), create(app)
    world.bodies[nameless.container_id].record = replace(
        world.bodies[nameless.container_id].record, id="somebodyelse"
    )
    assert app.manager.name_all([nameless.id, "gone", "shop"]) == (
        f"{nameless.id} (no name)",
        f"{shop.id} (shop)",
    )
    assert app.manager.name_all([]) == ()


def test_the_password_is_struck_out_of_a_log(app: App) -> None:
    instance = create(app, password=Secret("connections"))
    assert app.manager.logs(instance.id, tail=5) == "database system is ready to accept ***"


def test_psql_of_a_dead_server_is_not_ready(app: App, world: MemoryWorld) -> None:
    instance = create(app)
    world.kill(instance.container_id)
    with pytest.raises(ServerNotReady, match="no running server") as caught:
        app.manager.psql(instance.id)
    assert "postgres get" in caught.value.hint


def test_a_server_that_dies_after_it_was_seen_is_not_taken_for_ready(app: App, world: MemoryWorld) -> None:
    instance = create(app)
    assert app.manager.list().instances[0].status is Status.READY
    world.kill(instance.container_id)
    assert app.manager.list().instances[0].status is Status.EXITED
    world.bodies[instance.container_id].ended = None
    world.bodies[instance.container_id].logins_until_ready = NEVER
    assert app.manager.get(instance.id).status is Status.STARTING


def test_a_changed_password_shows_in_get_and_health(app: App, world: MemoryWorld) -> None:
    instance = create(app)
    body = world.bodies[instance.container_id]
    edit_container(world, instance.container_id, ready_by=instance.created_at)
    body.record = replace(body.record, password=Secret("changed behind our back"))
    assert app.manager.get(instance.id).status is Status.UNHEALTHY
    assert not app.manager.health_check(instance.id).healthy


def test_a_record_of_another_instance_is_ignored(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    """It came along in a copy of the container."""
    instance = create(build_app(memory_stage), name="the original")
    body = world.bodies[instance.container_id]
    body.record = replace(body.record, id="somebodyelse")
    manager = build_app(memory_stage).manager
    seen = manager.get(instance.id)
    assert (seen.conninfo, seen.name) == (None, "")
    assert seen.status is not Status.READY
    with pytest.raises(InstanceNotFound):
        manager.get("the original")
    assert not manager.health_check(instance.id).healthy
    assert manager.drop([instance.id])[0].outcome is Outcome.DROPPED


def test_the_password_is_struck_out_of_the_evidence(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    """The log of the in-memory server holds these words; a password among them must not show."""
    instance = create(build_app(memory_stage), password=Secret("terminated"))
    world.kill(instance.container_id)
    for program in (build_app(memory_stage), build_app(memory_stage)):
        seen = program.manager.get(instance.id)
        assert seen.evidence is not None
        assert "server process was ***" in seen.evidence.log_tail
        assert "terminated" not in repr(program.manager.health_check(instance.id))


def test_the_password_is_struck_out_of_a_failed_create(app: App, world: MemoryWorld) -> None:
    world.dies_at_start = True
    with pytest.raises(ServerNotReady) as caught:
        create(app, password=Secret("terminated"))
    assert "server process was ***" in caught.value.explain()
    assert "terminated" not in caught.value.explain()


def test_no_secret_is_in_any_error_of_a_create(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    program = build_app(memory_stage, create_timeout=0.1)
    world.logins_until_ready = NEVER
    with pytest.raises(ServerNotReady) as caught:
        create(program, password=Secret(WORD))
    assert WORD not in caught.value.explain() + repr(caught.value)


def test_an_engine_that_is_down_is_told_and_comes_back(app: App, world: MemoryWorld) -> None:
    instance = create(app)
    world.down = True
    for verb in (
        lambda: create(app),
        app.manager.list,
        lambda: app.manager.get(instance.id),
        lambda: app.manager.drop([instance.id]),
        app.manager.drop_all,
        lambda: app.manager.health_check(instance.id),
        lambda: app.manager.logs(instance.id, tail=1),
    ):
        with pytest.raises(EngineDown):
            verb()
    world.down = False
    assert app.manager.get(instance.id) == instance


def test_dropping_all_leaves_nothing(app: App, world: MemoryWorld) -> None:
    ids = {create(app).id for _ in range(12)}
    drops = app.manager.drop_all()
    assert {drop.id for drop in drops} == ids
    assert {drop.outcome for drop in drops} == {Outcome.DROPPED}
    assert world.bodies == {}
    assert app.manager.drop_all() == ()


def test_dropping_nothing_is_nothing(app: App) -> None:
    assert app.manager.drop([]) == ()


def test_drops_come_back_in_the_order_asked(app: App) -> None:
    first, second = create(app, name="first"), create(app, name="second")
    drops = app.manager.drop(["second", "gone", first.id, ""])
    assert [drop.ref for drop in drops] == ["second", "gone", first.id, ""]
    assert [drop.id for drop in drops] == [second.id, "", first.id, ""]


def test_an_ambiguous_drop_removes_nothing(app: App, world: MemoryWorld) -> None:
    first = create(app, name="twin")
    create(app, name="twin")
    with pytest.raises(AmbiguousReference):
        app.manager.drop([first.id, "twin"])
    assert len(world.bodies) == 2


def test_an_instance_that_vanishes_during_a_list_is_left_out(
    memory_stage: MemoryStage, world: MemoryWorld
) -> None:
    """Somebody else drops it between the engine's list and our look at it."""
    program = build_app(memory_stage)
    kept, gone = create(program), create(program)
    containers = program.runtime.list()
    world.bodies.pop(gone.container_id)
    fresh = build_app(memory_stage).manager
    seen = fresh._observer.observe_all(containers)
    assert [instance.id for instance in seen] == [kept.id]


@pytest.mark.parametrize("count", [1, 3])
def test_a_hung_container_is_marked_and_hides_no_other(
    memory_stage: MemoryStage, world: MemoryWorld, count: int
) -> None:
    """Also when it is the only one, and when nobody has looked at it before."""
    hung, *others = [create(build_app(memory_stage), name=f"number {number}") for number in range(count)]
    world.hung = {hung.container_id}
    fresh = build_app(memory_stage)
    listed = fresh.manager.list()
    broken, *rest = listed.instances
    assert (broken.id, broken.status, broken.conninfo) == (hung.id, Status.UNHEALTHY, None)
    assert "it is broken: the in-memory engine stopped answering while looking at" in broken.hint
    assert rest == others
    assert listed.memory == count * memory_stage.memory, "it is counted"
    for other in others:
        assert fresh.manager.get(other.name) == other
    assert fresh.manager.name_all([hung.id]) == (f"{hung.id} (no name)",)
    with pytest.raises(EngineDown, match="stopped answering"):
        fresh.manager.get(hung.id)
    assert fresh.manager.drop([hung.id])[0].outcome is Outcome.DROPPED
    assert fresh.manager.list().instances == tuple(others)


def test_an_engine_that_goes_down_during_a_list_is_no_hung_container(
    memory_stage: MemoryStage, world: MemoryWorld
) -> None:
    program = build_app(memory_stage)
    create(program)
    containers = program.runtime.list()
    world.down = True
    for look in (program.manager._observer.observe_all, program.manager._observer.names):
        with pytest.raises(EngineDown, match="is down"):
            look(containers)


def test_dropped_while_others_look_is_never_an_error(memory_stage: MemoryStage) -> None:
    program = build_app(memory_stage)
    ids = [create(program).id for _ in range(10)]
    raised = run_together(
        *(lambda each=each: program.manager.drop([each]) for each in ids),
        *[build_app(memory_stage).manager.list for _ in range(10)],
        *[lambda: build_app(memory_stage).manager.drop(["no such name"])] * 5,
    )
    assert raised == []


def test_a_display_name_stands_in_for_a_missing_one(app: App) -> None:
    instance = create(app)
    assert instance.name == f"mcp-postgres-{instance.id}"
    assert app.manager.get(instance.name).id == instance.id


@pytest.mark.parametrize(
    "name, bootstrap",
    [
        ("shop", "shop"),
        ("my shop", "my shop"),
        ("a.b@c-d_e", "a.b@c-d_e"),
        ('a"b', "dev_postgres_mcp_bootstrap"),
        ("dbname=x", "dev_postgres_mcp_bootstrap"),
        ("数据库", "dev_postgres_mcp_bootstrap"),
        ("-c", "dev_postgres_mcp_bootstrap"),
        ("postgresql://x", "dev_postgres_mcp_bootstrap"),
        ("a\n", "dev_postgres_mcp_bootstrap"),
        ("$x", "dev_postgres_mcp_bootstrap"),
    ],
)
def test_names_that_the_images_scripts_would_break_are_given_later(
    app: App, name: str, bootstrap: str
) -> None:
    spec = build_spec(app.defaults, database=name, username=name)
    launch = plan_launch(spec, Image(ref="postgres:17", id="sha256:1"), patience=60.0)
    assert (launch.bootstrap.database, launch.bootstrap.username) == (bootstrap, bootstrap)
    assert (launch.record.database, launch.record.username) == (name, name)
    instance = app.manager.create(spec)
    assert app.manager.health_check(instance.id).healthy


def test_a_doctor_looks_at_what_a_create_would_meet(app: App, world: MemoryWorld) -> None:
    findings = {finding.check: finding for finding in app.diagnose()}
    assert {finding.verdict.value for finding in findings.values()} == {"ok"}
    assert findings["context"].detail == "built in"
    assert findings["address"].detail == "memory:"
    assert "psql" not in findings, "a runtime without psql needs none"
    world.images.clear()
    absent = {finding.check: finding for finding in app.diagnose()}["image"]
    assert (absent.verdict.value, absent.remedy) == ("warning", "docker pull postgres:17")
    world.down = True
    (down,) = app.diagnose()
    assert (down.check, down.verdict.value) == ("engine", "error")
    assert down.remedy


def test_a_doctor_shows_what_each_provider_brings(app: App, world: MemoryWorld) -> None:
    world.providers = (
        ProviderFacts(
            name="wheel",
            version="17.10",
            directory="/w",
            extensions=("hstore", "pg_trgm"),
            client_tools=("psql", "pg_dump"),
        ),
        ProviderFacts(name="system", version="15.2", directory="/s"),
    )
    shown = [finding.detail for finding in app.diagnose() if finding.check == "provider"]
    assert shown == [
        "wheel 17.10 in /w; psql, pg_dump; 2 extensions: hstore, pg_trgm",
        "system 15.2 in /s; no client tools; no extensions",
    ]
    world.images.clear()
    absent = {finding.check: finding for finding in app.diagnose()}["image"]
    assert (absent.verdict.value, "provider" in absent.detail) == ("warning", True)
    assert "docker" not in absent.remedy


def test_a_doctor_tells_of_full_ceilings(memory_stage: MemoryStage) -> None:
    full = build_app(memory_stage, ports=range(20000, 20001), max_instances=1, max_total_memory="512m")
    full = replace(full, settings=full.settings.model_copy(update={"ports": (20000, 20000)}))
    create(full)
    findings = {finding.check: finding for finding in full.diagnose()}
    for check in ("ports", "instances", "memory"):
        assert findings[check].verdict.value == "error"
        assert findings[check].remedy
