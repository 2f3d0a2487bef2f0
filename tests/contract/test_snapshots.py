"""Time travel as a face uses it: take, list, branch, restore, delete."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.errors import (
    AmbiguousReference,
    Cancelled,
    InstanceNotFound,
    InvalidInput,
    LimitReached,
    LoginFailed,
    ServerNotReady,
    SnapshotInUse,
    SnapshotNotFound,
)
from dev_postgres_mcp.instances.specs import build_branch_spec
from dev_postgres_mcp.model import Lease, Secret, Status
from dev_postgres_mcp.parsing import new_id
from tests.helpers.acts import add_database, branch, conninfo_of, create, has_database, is_gone
from tests.helpers.stages import MEGABYTE, build_app, owned, owner_of, patience

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance, Progress, Snapshot
    from tests.helpers.stages import Stage


@pytest.fixture
def name() -> str:
    """A name for a snapshot that nobody else gives on a shared engine."""
    return f"s-{new_id()}"


@pytest.fixture
def instance(program: App) -> Instance:
    return create(program, database="shop", username="keeper")


def of_source(program: App, instance: Instance) -> list[Snapshot]:
    return [one for one in program.snapshots.list() if one.source == instance.id]


def test_a_snapshot_is_listed_by_everybody(stage: Stage, program: App, instance: Instance, name: str) -> None:
    taken = program.snapshots.take(instance.id[:10], name, ttl=3600.0)
    assert (taken.name, taken.source, taken.version, taken.image) == (
        name,
        instance.id,
        stage.version,
        f"postgres:{stage.version}",
    )
    assert taken.expires_at is not None
    assert 3500 < (taken.expires_at - taken.created_at).total_seconds() <= 3602
    assert taken.branches == ()
    assert len(taken.id) == 12
    assert of_source(build_app(stage, client="elsewhere"), instance) == [taken]


def test_a_snapshot_needs_no_name_and_no_end(program: App, instance: Instance) -> None:
    first, second = program.snapshots.take(instance.id), program.snapshots.take(instance.id)
    assert first.name == f"snapshot-{first.id}"
    assert first.expires_at is None
    assert of_source(program, instance) == [first, second]


@pytest.mark.parametrize("wrong", ["", "a b", "-x", "a/b", "x" * 64, "ä", "a\n"])
def test_a_name_that_nobody_can_type_is_refused(program: App, instance: Instance, wrong: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be given"):
        program.snapshots.take(instance.id, wrong)
    assert of_source(program, instance) == []


def test_a_name_that_is_taken_is_refused(program: App, instance: Instance, name: str) -> None:
    taken = program.snapshots.take(instance.id, name)
    for again in (name, taken.id):
        with pytest.raises(InvalidInput, match="already"):
            program.snapshots.take(instance.id, again)
    assert of_source(program, instance) == [taken]


def test_clients_stay_connected_while_a_snapshot_is_taken(
    stage: Stage, program: App, instance: Instance
) -> None:
    program.snapshots.take(instance.id)
    assert program.manager.get(instance.id) == instance
    stage.sql.login(conninfo_of(instance))


def test_a_branch_from_a_snapshot_has_its_data_under_its_own_name_and_password(
    stage: Stage, program: App, instance: Instance, name: str
) -> None:
    add_database(stage, conninfo_of(instance), "before")
    taken = program.snapshots.take(instance.id, name)
    add_database(stage, conninfo_of(instance), "after")
    one = branch(
        build_app(stage, client="elsewhere"),
        name,
        name="a branch",
        labels={"k": "v"},
        ttl="2h",
        idle_timeout="20m",
    )
    login = conninfo_of(one)
    assert has_database(stage, login, "before")
    assert not has_database(stage, login, "after")
    assert (one.name, one.labels, one.owner, one.status) == (
        "a branch",
        {"k": "v"},
        owner_of(stage),
        Status.READY,
    )
    assert (login.database, login.username) == ("shop", "keeper")
    assert login.password != conninfo_of(instance).password
    assert (one.version, one.image, one.limits) == (instance.version, instance.image, instance.limits)
    assert one.lease.idle_timeout == 1200
    assert one.lease.expires_at is not None
    assert program.manager.get(one.id) == one
    with pytest.raises(LoginFailed):
        stage.sql.login(replace(login, password=conninfo_of(instance).password))
    assert of_source(program, instance)[0] == replace(taken, branches=(one.id,))


def test_a_branch_has_the_settings_of_its_source(stage: Stage, program: App) -> None:
    source = create(program, memory="300m", cpus=0.5, settings={"work_mem": "9MB"})
    one = branch(program, source.id)
    assert (one.limits, program.manager.find(one.id).settings) == (source.limits, {"work_mem": "9MB"})
    larger = branch(program, source.id, memory="400m", cpus=2.0)
    assert (larger.limits.memory, larger.limits.cpus) == (400 * MEGABYTE, 2.0)


def test_a_branch_from_an_instance_is_as_it_stands_now(stage: Stage, program: App) -> None:
    source = create(program, name=f"source of {stage.session}")
    add_database(stage, conninfo_of(source), "before")
    told: list[str] = []

    def tell(progress: Progress) -> None:
        told.append(progress.message)

    spec = build_branch_spec(program.defaults, password=Secret("of my own"))
    one = program.snapshots.branch(source.name, spec, progress=tell)
    assert conninfo_of(one).password == Secret("of my own")
    assert has_database(stage, conninfo_of(one), "before")
    add_database(stage, conninfo_of(one), "of the branch")
    assert not has_database(stage, conninfo_of(source), "of the branch")
    assert told[0] == f"freezing {source.name}"
    assert told[-1] == "waiting for the first login"
    assert of_source(program, source) == [], "what a branch stands on is no snapshot of anybody"


def test_a_branch_goes_on_when_its_source_is_dropped(stage: Stage, program: App, instance: Instance) -> None:
    one = branch(program, instance.id)
    program.manager.drop([instance.id])
    stage.sql.login(conninfo_of(one))
    two = branch(program, one.id)
    program.manager.drop([one.id])
    stage.sql.login(conninfo_of(two))


def test_what_a_dropped_branch_stood_on_goes_with_it(stage: Stage, program: App, instance: Instance) -> None:
    one = branch(program, instance.id)
    assert [image for image in program.runtime.images() if image.source == instance.id]
    program.manager.drop([one.id])
    assert [image for image in program.runtime.images() if image.source == instance.id] == []


def test_a_restored_instance_is_the_same_with_the_data_of_then(
    stage: Stage, program: App, instance: Instance, name: str
) -> None:
    login = conninfo_of(instance)
    add_database(stage, login, "before")
    program.snapshots.take(instance.id, name)
    add_database(stage, login, "after")
    program.manager.extend(instance.id, ttl="5h", idle_timeout="1h")
    known = program.manager.get(instance.id)
    restored = build_app(stage, client="elsewhere").snapshots.restore(instance.id[:10], name)
    assert replace(restored, container_id=known.container_id) == known
    assert restored.container_id != instance.container_id
    assert has_database(stage, login, "before")
    assert not has_database(stage, login, "after")
    assert program.manager.get(instance.id) == restored
    assert [one.container_id for one in owned(stage, program.runtime)] == [restored.container_id]
    again = program.snapshots.restore(instance.id, name)
    assert again.container_id != restored.container_id
    stage.sql.login(login)


def test_what_is_extended_while_it_is_restored_stays_extended(
    stage: Stage, program: App, instance: Instance, name: str
) -> None:
    program.snapshots.take(instance.id, name)
    other = build_app(stage, client="elsewhere")

    def extend(_: Progress) -> None:
        other.manager.extend(instance.id, ttl="50h", idle_timeout="40m")

    restored = program.snapshots.restore(instance.id, name, progress=extend)
    assert restored.lease.expires_at is not None
    assert 49.9 < (restored.lease.expires_at - instance.created_at).total_seconds() / 3600 < 50.1
    assert restored.lease.idle_timeout == 2400
    for reader in (program, other):
        assert reader.manager.get(instance.id) == restored


def test_a_dead_server_is_restored(stage: Stage, program: App, instance: Instance, name: str) -> None:
    add_database(stage, conninfo_of(instance), "before")
    program.snapshots.take(instance.id, name)
    stage.kill(instance.container_id)
    assert program.manager.get(instance.id).status is Status.EXITED
    restored = program.snapshots.restore(instance.id, name)
    assert replace(restored, container_id=instance.container_id) == instance
    assert has_database(stage, conninfo_of(instance), "before")
    assert program.manager.get(instance.id) == restored
    assert [one.container_id for one in owned(stage, program.runtime)] == [restored.container_id]


def test_a_restored_instance_can_be_frozen_and_branched(
    stage: Stage, program: App, instance: Instance
) -> None:
    first = program.snapshots.take(instance.id)
    program.snapshots.restore(instance.id, first.id)
    add_database(stage, conninfo_of(instance), "later")
    second = program.snapshots.take(instance.id)
    assert has_database(stage, conninfo_of(branch(program, second.id)), "later")
    program.snapshots.restore(instance.id, first.id)
    assert not has_database(stage, conninfo_of(instance), "later")


def test_a_snapshot_of_another_database_is_not_restored(
    stage: Stage, program: App, instance: Instance
) -> None:
    """The dsn would not work any more."""
    other = create(program, database="other", username="keeper")
    taken = program.snapshots.take(other.id)
    with pytest.raises(InvalidInput, match=r"'other'.*'shop'") as caught:
        program.snapshots.restore(instance.id, taken.id)
    assert "branch" in caught.value.hint
    stage.sql.login(conninfo_of(instance))


def test_a_restore_that_is_cancelled_leaves_the_old_one(
    stage: Stage, program: App, instance: Instance
) -> None:
    taken = program.snapshots.take(instance.id)
    deadline = patience()
    deadline.cancel()
    with pytest.raises(Cancelled):
        program.snapshots.restore(instance.id, taken.id, deadline=deadline)
    assert program.manager.get(instance.id) == instance
    assert len(owned(stage, program.runtime)) == 1


def test_a_branch_that_is_cancelled_leaves_nothing(stage: Stage, program: App, instance: Instance) -> None:
    deadline = patience()

    def cancel_at_login(progress: Progress) -> None:
        if "login" in progress.message:
            deadline.cancel()

    with pytest.raises(Cancelled):
        program.snapshots.branch(
            instance.id, build_branch_spec(program.defaults), progress=cancel_at_login, deadline=deadline
        )
    assert [one.id for one in owned(stage, program.runtime)] == [instance.id]
    assert [image for image in program.runtime.images() if image.source == instance.id] == []


def test_a_snapshot_in_use_is_deleted_only_by_force(
    stage: Stage, program: App, instance: Instance, name: str
) -> None:
    program.snapshots.take(instance.id, name)
    one, two = branch(program, name), branch(program, name)
    with pytest.raises(SnapshotInUse) as caught:
        program.snapshots.delete(name)
    assert one.id in caught.value.message
    assert two.id in caught.value.message
    assert len(of_source(program, instance)) == 1
    program.snapshots.delete(name, force=True)
    assert of_source(program, instance) == []
    assert [left.id for left in owned(stage, program.runtime)] == [instance.id]


def test_force_does_not_drop_what_was_restored_to_a_snapshot(
    stage: Stage, program: App, instance: Instance, name: str
) -> None:
    program.snapshots.take(instance.id, name)
    one = branch(program, name)
    program.snapshots.restore(instance.id, name)
    (taken,) = of_source(program, instance)
    assert set(taken.branches) == {instance.id, one.id}
    assert taken.restored == (instance.id,)
    for force in (False, True):
        with pytest.raises(
            SnapshotInUse,
            match=f"{name} carries the branches {one.id} and what was restored to it: {instance.id}",
        ) as caught:
            program.snapshots.delete(name, force=force)
        assert f"drop {instance.id}, or restore it to another snapshot" in caught.value.hint
    assert {left.id for left in owned(stage, program.runtime)} == {instance.id, one.id}
    other = program.snapshots.take(instance.id)
    program.snapshots.restore(instance.id, other.id)
    assert program.snapshots.delete(name, force=True).branches == (one.id,)
    stage.sql.login(conninfo_of(instance))
    with pytest.raises(SnapshotInUse, match="carries what was restored to it"):
        program.snapshots.delete(other.id, force=True)


def test_a_snapshot_is_deleted_by_name_id_or_the_start_of_it(
    program: App, instance: Instance, name: str
) -> None:
    named, by_id, by_prefix = (program.snapshots.take(instance.id, one) for one in (name, None, None))
    assert program.snapshots.delete(name) == named
    assert program.snapshots.delete(by_id.id) == by_id
    assert program.snapshots.delete(by_prefix.id[:10]) == by_prefix
    assert of_source(program, instance) == []
    for gone in (name, by_id.id, "", "never"):
        with pytest.raises(SnapshotNotFound):
            program.snapshots.delete(gone)


def test_what_is_not_there_is_not_found(program: App, instance: Instance) -> None:
    with pytest.raises(SnapshotNotFound):
        program.snapshots.restore(instance.id, "never")
    for ref in ("never", ""):
        with pytest.raises(InstanceNotFound):
            branch(program, ref)
        with pytest.raises(InstanceNotFound):
            program.snapshots.take(ref)


def test_a_name_that_is_a_snapshots_and_an_instances_is_ambiguous(program: App, name: str) -> None:
    instance = create(program, name=name)
    taken = program.snapshots.take(instance.id, name)
    with pytest.raises(AmbiguousReference) as caught:
        branch(program, name)
    assert taken.id in caught.value.explain()
    assert instance.id in caught.value.explain()
    assert branch(program, taken.id).id


def test_a_dead_server_cannot_be_frozen(stage: Stage, program: App, instance: Instance) -> None:
    stage.kill(instance.container_id)
    with pytest.raises(ServerNotReady, match="no running server"):
        program.snapshots.take(instance.id)
    with pytest.raises(ServerNotReady, match="no running server"):
        branch(program, instance.id)


def test_what_is_paused_is_not_restored(stage: Stage, program: App, instance: Instance) -> None:
    """Somebody wants to look at it as it stands."""
    taken = program.snapshots.take(instance.id)
    stage.pause(instance.container_id)
    with pytest.raises(ServerNotReady, match="is paused"):
        program.snapshots.restore(instance.id, taken.id)
    assert [one.container_id for one in owned(stage, program.runtime)] == [instance.container_id]


def test_a_full_engine_takes_no_branch(stage: Stage, program: App, instance: Instance) -> None:
    with pytest.raises(LimitReached):
        branch(build_app(stage, max_instances=1), instance.id)
    assert [one.id for one in owned(stage, program.runtime)] == [instance.id]
    assert [image for image in program.runtime.images() if image.source == instance.id] == []


def test_a_branch_lives_as_long_as_its_own_lease(stage: Stage, program: App, instance: Instance) -> None:
    one = branch(program, instance.id, ttl="none", idle_timeout="none")
    container = program.manager.find(one.id)
    state = program.runtime.read_state(container)
    assert state is not None
    assert one.lease == Lease(expires_at=container.hard_end)
    assert state.lease == one.lease
    assert not is_gone(program.runtime, container)
