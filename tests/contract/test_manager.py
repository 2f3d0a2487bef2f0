"""The verbs, over both runtimes: what a face may rely on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import (
    AmbiguousReference,
    Cancelled,
    EngineFailed,
    ImageUnavailable,
    InitFailed,
    InstanceNotFound,
    LimitReached,
)
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.model import Outcome, Progress, Secret, Status
from tests.helpers.acts import conninfo_of, create
from tests.helpers.stages import ABSENT_IMAGE, MEGABYTE, build_app, owned, owner_of, patience, run_together

if TYPE_CHECKING:
    from collections.abc import Callable

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance
    from tests.helpers.stages import Stage

HOSTILE = (
    "shop \"of\" 'quotes'; --",
    "naïve 数据库 🐘",
    "a/b?c=d&e%20@f:g#h",
    " spaces ",
    "x" * 63,
    "dbname=x",
)


def test_a_create_returns_a_server_that_has_accepted_a_login(stage: Stage, program: App) -> None:
    instance = create(program, name="shop tests", database="shop", username="keeper", labels={"suite": "a"})
    assert instance.conninfo is not None
    assert instance.status is Status.READY
    assert (instance.name, instance.conninfo.database, instance.conninfo.username) == (
        "shop tests",
        "shop",
        "keeper",
    )
    assert instance.labels == {"suite": "a"}
    assert instance.owner == owner_of(stage)
    assert instance.runtime == stage.name
    assert instance.hint == ""
    assert len(instance.conninfo.password.reveal()) >= 24
    assert stage.sql.login(instance.conninfo) >= 0


def test_each_instance_gets_a_password_of_its_own(program: App) -> None:
    first, second = create(program), create(program)
    assert first.conninfo is not None
    assert second.conninfo is not None
    assert first.conninfo.password != second.conninfo.password
    assert first.id != second.id


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_postgres_takes_work_for_database_and_user(stage: Stage, program: App, name: str) -> None:
    instance = create(program, database=name, username=name)
    assert instance.conninfo is not None
    assert (instance.conninfo.database, instance.conninfo.username) == (name, name)
    again = build_app(stage).manager.get(instance.id)
    assert again.conninfo == instance.conninfo
    stage.sql.login(instance.conninfo)


@pytest.mark.parametrize("password", ["p@ss:w/o%rd?#&='\"\\ $x", "пароль 🐘", " outer spaces ", "x" * 900])
def test_passwords_of_any_spelling_work(stage: Stage, program: App, password: str) -> None:
    instance = create(program, password=Secret(password))
    assert instance.conninfo is not None
    stage.sql.login(instance.conninfo)


def test_another_process_lists_gets_checks_and_drops_it(stage: Stage, program: App) -> None:
    instance = create(program, name=f"shop of {stage.session}")
    other = build_app(stage).manager
    (listed,) = [found for found in other.list().instances if found.owner.session == stage.session]
    assert listed.id == instance.id
    assert listed.status is Status.READY
    assert listed.conninfo == instance.conninfo
    for ref in (instance.id, instance.id[:9], f"shop of {stage.session}", instance.container_id):
        assert other.get(ref) == instance
    assert other.get(f"mcp-postgres-{instance.id}").id == instance.id
    assert other.health_check(instance.id).healthy
    (drop,) = other.drop([instance.id])
    assert (drop.outcome, drop.id) == (Outcome.DROPPED, instance.id)
    with pytest.raises(InstanceNotFound):
        program.manager.get(instance.id)


def test_dropping_what_is_gone_is_no_error(program: App) -> None:
    instance = create(program)
    drops = program.manager.drop([instance.id, "never-there"])
    assert [drop.outcome for drop in drops] == [Outcome.DROPPED, Outcome.ALREADY_GONE]
    assert [drop.outcome for drop in program.manager.drop([instance.id])] == [Outcome.ALREADY_GONE]


def test_the_same_instance_named_twice_is_dropped_without_an_error(program: App) -> None:
    instance = create(program)
    drops = program.manager.drop([instance.id, instance.container_id])
    assert {drop.id for drop in drops} == {instance.id}
    assert Outcome.DROPPED in {drop.outcome for drop in drops}


def test_an_ambiguous_reference_drops_nothing(stage: Stage, program: App) -> None:
    name = f"twins of {stage.session}"
    twins = [create(program, name=name), create(program, name=name)]
    with pytest.raises(AmbiguousReference, match="2 instances") as caught:
        program.manager.drop([twins[0].id, name])
    assert all(twin.id in caught.value.message for twin in twins)
    assert {container.id for container in owned(stage, program.runtime)} == {twin.id for twin in twins}


def test_a_health_check_tells_server_and_engine_facts(stage: Stage, program: App) -> None:
    instance = create(program, memory="300m")
    health = program.manager.health_check(instance.id)
    assert health.healthy
    assert health.facts is not None
    assert health.usage is not None
    assert health.facts.latency >= 0
    assert health.facts.version.startswith(f"{stage.version}.")
    assert 1 <= health.facts.connections <= health.facts.max_connections
    assert health.facts.database_size > MEGABYTE
    assert health.facts.uptime >= 0
    assert health.usage.memory_limit == 300 * MEGABYTE


def test_a_dead_server_is_exited_with_evidence_and_a_hint(stage: Stage, program: App) -> None:
    instance = create(program, name=f"dead of {stage.session}")
    stage.kill(instance.container_id)
    health = program.manager.health_check(instance.id)
    assert not health.healthy
    assert health.facts is None
    for seen in (health.instance, program.manager.get(instance.id)):
        assert seen.status is Status.EXITED
        assert seen.evidence is not None
        assert seen.evidence.exit_code == 137
        assert seen.evidence.log_tail
        assert seen.conninfo == instance.conninfo
        assert "drop" in seen.hint
    (listed,) = [found for found in program.manager.list().instances if found.id == instance.id]
    assert listed.status is Status.EXITED
    assert program.manager.get(f"dead of {stage.session}").id == instance.id


def test_a_paused_server_is_unhealthy_and_says_how_to_wake_it(stage: Stage, program: App) -> None:
    instance = create(program)
    stage.pause(instance.container_id)
    for manager in (program.manager, build_app(stage).manager):
        health = manager.health_check(instance.id)
        assert not health.healthy
        assert health.instance.status is Status.UNHEALTHY
        assert "is paused" in health.hint
        command = program.runtime.capabilities.unpause.format(f"mcp-postgres-{instance.id}")
        assert command in health.hint


def test_a_missing_extension_fails_with_its_name_and_leaves_nothing(stage: Stage, program: App) -> None:
    with pytest.raises(InitFailed, match="no_such_extension"):
        create(program, extensions=["no_such_extension"])
    assert owned(stage, program.runtime) == ()


def test_a_create_cancelled_while_it_waits_leaves_nothing(stage: Stage, program: App) -> None:
    deadline = patience()

    def cancel_at_login(progress: Progress) -> None:
        if "login" in progress.message:
            deadline.cancel()

    with pytest.raises(Cancelled):
        program.manager.create(build_spec(program.defaults), progress=cancel_at_login, deadline=deadline)
    assert owned(stage, program.runtime) == ()


def test_a_create_cancelled_before_it_begins_starts_nothing(stage: Stage, program: App) -> None:
    deadline = patience()
    deadline.cancel()
    with pytest.raises(Cancelled):
        program.manager.create(build_spec(program.defaults), deadline=deadline)
    assert owned(stage, program.runtime) == ()


def test_an_image_that_nobody_has_fails_with_its_name(stage: Stage, program: App) -> None:
    with pytest.raises(ImageUnavailable, match=ABSENT_IMAGE):
        program.manager.create(build_spec(program.defaults, image=ABSENT_IMAGE), deadline=Deadline(30))
    assert owned(stage, program.runtime) == ()


def test_a_full_engine_refuses_before_anything_is_started(stage: Stage, program: App) -> None:
    create(program)
    full = build_app(stage, max_instances=1)
    with pytest.raises(LimitReached, match="max_instances is 1"):
        create(full)
    with pytest.raises(LimitReached, match="max_total_memory"):
        create(build_app(stage, max_total_memory="600m"))
    assert len(owned(stage, program.runtime)) == 1


def test_creates_at_once_all_work_under_ports_of_their_own(stage: Stage, program: App) -> None:
    created: list[Instance] = []
    lock = threading.Lock()

    def one() -> None:
        instance = create(program)
        with lock:
            created.append(instance)

    assert run_together(*[one] * 4) == []
    assert len({instance.endpoint.port for instance in created}) == 4
    for instance in created:
        assert instance.conninfo is not None
        stage.sql.login(instance.conninfo)
    drops = program.manager.drop([instance.id for instance in created])
    assert [drop.outcome for drop in drops] == [Outcome.DROPPED] * 4
    assert owned(stage, program.runtime) == ()


def test_a_prefix_completes_to_ids(program: App) -> None:
    instance = create(program)
    assert program.manager.complete(instance.id[:8]) == (instance.id,)


def test_a_log_can_be_read_by_any_reference(program: App) -> None:
    instance = create(program)
    assert "ready to accept connections" in program.manager.logs(instance.id[:9], tail=100)


def create_while_it_is_swept(stage: Stage, *, times: int) -> tuple[App, list[str], Callable[[], Instance]]:
    """Return a create whose prepared image is removed so often just before it is started from, and what it tells."""
    base = stage.add_base()
    program = build_app(stage, image_repository=base.rpartition(":")[0])
    told: list[str] = []

    def sweep(progress: Progress) -> None:
        told.append(progress.message)
        if progress.message == f"starting {base}" and told.count(progress.message) <= times:
            (prepared,) = [one for one in program.runtime.images() if one.image.ref == base]
            assert program.runtime.remove_image(prepared.image.id)

    return program, told, lambda: program.manager.create(build_spec(program.defaults), progress=sweep)


def test_a_prepared_image_that_is_swept_just_before_the_start_is_made_again(stage: Stage) -> None:
    program, told, create_it = create_while_it_is_swept(stage, times=1)
    stage.sql.login(conninfo_of(create_it()))
    assert len([message for message in told if message.startswith("preparing")]) == 2
    assert len(owned(stage, program.runtime)) == 1


def test_a_prepared_image_that_is_swept_again_and_again_is_an_error(stage: Stage) -> None:
    program, _, create_it = create_while_it_is_swept(stage, times=2)
    with pytest.raises(EngineFailed, match=r"(?i)no such image"):
        create_it()
    assert owned(stage, program.runtime) == ()
