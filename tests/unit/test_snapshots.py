"""Time travel over the in-memory world: what is hard to bring about on a real engine."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import (
    AmbiguousReference,
    DeadlineExceeded,
    EngineUnsupported,
    InstanceNotFound,
    InvalidInput,
    ServerNotReady,
    SnapshotInUse,
    SnapshotNotFound,
)
from dev_postgres_mcp.instances.specs import build_branch_spec
from dev_postgres_mcp.model import Lease, Secret
from dev_postgres_mcp.runtimes.base import Bootstrap, Image, Kind, Role
from tests.helpers.acts import add_database, branch, conninfo_of, create, has_database, read_state
from tests.helpers.stages import (
    MEGABYTE,
    build_app,
    edit_container,
    owner_of,
    patience,
    run_together,
    some_launch,
    wait_until,
)

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance, Progress
    from dev_postgres_mcp.runtimes.base import Container
    from dev_postgres_mcp.runtimes.memory import MemoryWorld
    from tests.helpers.stages import MemoryStage

NEVER = 10**9


@pytest.fixture
def instance(app: App) -> Instance:
    return create(app)


def rename(world: MemoryWorld, old: str, **changes: Any) -> None:
    """Let a snapshot have been taken under another name or key."""
    stored = next(one for one in world.stored.values() if one.image.name == old)
    stored.image = replace(stored.image, **changes)


def test_where_images_cannot_be_made_that_is_said(app: App, world: MemoryWorld, instance: Instance) -> None:
    world.can_commit = False
    for attempt in (lambda: app.snapshots.take(instance.id), lambda: branch(app, instance.id)):
        with pytest.raises(EngineUnsupported, match="memory runtime takes no snapshots"):
            attempt()
    assert app.snapshots.list() == ()


def test_a_snapshot_holds_every_commit_before_it(
    memory_stage: MemoryStage, app: App, instance: Instance
) -> None:
    """Frozen without a checkpoint, it would lose the last ones: nothing waits for the disk here."""
    for number in range(3):
        add_database(memory_stage, conninfo_of(instance), f"d{number}")
        taken = app.snapshots.take(instance.id)
        one = conninfo_of(branch(app, taken.id))
        assert [has_database(memory_stage, one, f"d{other}") for other in range(3)] == [
            other <= number for other in range(3)
        ]


def test_no_password_is_in_a_snapshot(app: App, world: MemoryWorld, instance: Instance) -> None:
    app.snapshots.take(instance.id, "monday")
    (stored,) = [one for one in world.stored.values() if one.image.name == "monday"]
    assert conninfo_of(instance).password.reveal() not in repr(stored.image)


def test_a_server_that_does_not_answer_cannot_be_frozen(
    app: App, world: MemoryWorld, instance: Instance
) -> None:
    edit_container(world, instance.container_id, state="paused")
    with pytest.raises(ServerNotReady):
        app.snapshots.take(instance.id)
    assert app.snapshots.list() == ()


def test_several_keys_of_one_beginning_are_ambiguous(
    app: App, world: MemoryWorld, instance: Instance
) -> None:
    for name, key in (("first", "aaaabbbbcccc"), ("second", "aaaaccccdddd")):
        app.snapshots.take(instance.id, name)
        rename(world, name, key=key)
    with pytest.raises(AmbiguousReference, match="aaaabbbbcccc, aaaaccccdddd"):
        app.snapshots.delete("aaaa")
    assert app.snapshots.delete("aaaab").name == "first"


def test_two_snapshots_of_one_name_are_told_apart_by_id(
    app: App, world: MemoryWorld, instance: Instance
) -> None:
    """Two who take at once may both find the name free."""
    first, second = app.snapshots.take(instance.id, "one"), app.snapshots.take(instance.id, "two")
    rename(world, "two", name="one")
    for attempt in (
        lambda: app.snapshots.delete("one"),
        lambda: app.snapshots.restore(instance.id, "one"),
        lambda: branch(app, "one"),
    ):
        with pytest.raises(AmbiguousReference) as caught:
            attempt()
        assert first.id in caught.value.message
        assert second.id in caught.value.message
    app.snapshots.delete(second.id)
    assert branch(app, "one").id


def test_an_exact_name_beats_the_beginning_of_a_key(app: App, world: MemoryWorld, instance: Instance) -> None:
    app.snapshots.take(instance.id, "other")
    rename(world, "other", key="aaaabbbbcccc")
    app.snapshots.take(instance.id, "aaaa")
    assert app.snapshots.delete("aaaa").name == "aaaa"
    assert app.snapshots.delete("aaaa").name == "other"


def test_an_instance_with_the_beginning_of_a_snapshots_name_is_no_matter(
    app: App, instance: Instance
) -> None:
    app.snapshots.take(instance.id, "shop-monday")
    create(app, name="shop")
    assert branch(app, "shop-monday").id
    assert branch(app, "shop").id


def test_a_branch_that_never_answers_leaves_nothing(memory_stage: MemoryStage, world: MemoryWorld) -> None:
    program = build_app(memory_stage, create_timeout=0.3)
    instance = create(program)
    world.logins_until_ready = NEVER
    with pytest.raises(ServerNotReady, match="did not accept a login"):
        branch(program, instance.id)
    assert list(world.bodies) == [instance.container_id]
    assert [one for one in world.stored.values() if one.image.kind is Kind.BRANCH] == []


def test_a_server_whose_superuser_was_renamed_inside_cannot_be_frozen(
    app: App, world: MemoryWorld, instance: Instance
) -> None:
    body = world.bodies[instance.container_id]
    body.cluster = replace(body.cluster, username="renamed inside")
    with pytest.raises(ServerNotReady, match=f"{instance.id} accepts no login: password auth") as caught:
        branch(app, instance.id)
    assert caught.value.hint
    assert list(world.bodies) == [instance.container_id]
    assert [one for one in world.stored.values() if one.image.kind is Kind.BRANCH] == []


def test_a_snapshot_that_vanishes_before_its_branch_starts_is_not_found(
    app: App, world: MemoryWorld, instance: Instance
) -> None:
    taken = app.snapshots.take(instance.id, "monday")
    stored = next(key for key, one in world.stored.items() if one.image.name == "monday")
    images = app.runtime.images()
    del world.stored[stored]
    assert taken.id in {one.key for one in images}
    with pytest.raises((SnapshotNotFound, InstanceNotFound)):
        branch(app, "monday")
    with pytest.raises(SnapshotNotFound):
        app.snapshots.restore(instance.id, "monday")


def test_whoever_deletes_second_does_not_find_it(
    memory_stage: MemoryStage, app: App, instance: Instance
) -> None:
    app.snapshots.take(instance.id, "monday")
    programs = [build_app(memory_stage) for _ in range(5)]
    raised = run_together(*(lambda one=one: one.snapshots.delete("monday") for one in programs))
    assert len(raised) == 4
    assert {type(error) for error in raised} <= {SnapshotNotFound, SnapshotInUse}
    assert app.snapshots.list() == ()


def test_force_drops_the_branches_and_nothing_else(app: App, world: MemoryWorld, instance: Instance) -> None:
    app.snapshots.take(instance.id, "monday")
    one = branch(app, "monday")
    two = branch(app, one.id)
    deleted = app.snapshots.delete("monday", force=True)
    assert deleted.branches == (one.id,)
    assert {body.container.id for body in world.bodies.values()} == {instance.id, two.id}


def test_what_was_restored_to_the_snapshot_of_another_instance_is_no_branch(
    app: App, world: MemoryWorld, instance: Instance
) -> None:
    app.snapshots.take(instance.id, "monday")
    other = create(app)
    app.snapshots.restore(other.id, "monday")
    with pytest.raises(SnapshotInUse, match=f"monday carries what was restored to it: {other.id}"):
        app.snapshots.delete("monday", force=True)
    assert {body.container.id for body in world.bodies.values()} == {instance.id, other.id}


def test_a_branch_has_what_was_asked_for_and_the_rest_of_its_source(memory_stage: MemoryStage) -> None:
    program = build_app(memory_stage, memory="300m", cpus=0.5)
    source = create(program, database="shop", username="me", settings={"work_mem": "8MB"}, labels={"a": "b"})
    plain = branch(program, source.id)
    container = program.manager.find(plain.id)
    assert (plain.limits, container.settings) == (source.limits, {"work_mem": "8MB"})
    assert (conninfo_of(plain).database, conninfo_of(plain).username) == ("shop", "me")
    assert (plain.name, plain.labels) == (f"mcp-postgres-{plain.id}", {})
    assert plain.owner == owner_of(memory_stage)
    assert container.maker == memory_stage.session
    asked = branch(
        program, source.id, name="x", memory="1g", cpus=2.0, password=Secret("word"), labels={"c": "d"}
    )
    assert (asked.name, asked.labels) == ("x", {"c": "d"})
    assert (asked.limits.memory, asked.limits.cpus) == (1024 * MEGABYTE, 2.0)
    assert conninfo_of(asked).password == Secret("word")


@pytest.mark.parametrize(
    "asked, problem",
    [
        ({"memory": "1m"}, "too little"),
        ({"cpus": 0.0}, "out of range"),
        ({"ttl": "soon"}, "not a duration"),
        ({"idle_timeout": "0s"}, "not a duration"),
        ({"name": ""}, "name is empty"),
        ({"password": Secret("")}, "password is empty"),
        ({"labels": {"": "x"}}, "cannot be stored"),
    ],
)
def test_bad_input_is_refused_before_anything_is_frozen(
    app: App, asked: dict[str, object], problem: str
) -> None:
    with pytest.raises(InvalidInput, match=problem):
        build_branch_spec(app.defaults, **asked)  # type: ignore[arg-type]  # as a test asks


def test_a_restore_keeps_the_record_and_the_lease(app: App, world: MemoryWorld) -> None:
    instance = create(app, name="a shop", labels={"k": "v"}, ttl="5h", idle_timeout="1h")
    before = app.runtime.read_state(app.manager.find(instance.id))
    app.snapshots.take(instance.id, "monday")
    restored = app.snapshots.restore(instance.id, "monday")
    container = app.manager.find(instance.id)
    assert app.runtime.read_state(container) == before
    assert replace(restored, container_id=instance.container_id) == instance
    assert (container.limits, container.hard_end) == (instance.limits, app.manager.find(restored.id).hard_end)
    assert len(world.bodies) == 1


def begin_restore(app: App, world: MemoryWorld, instance: Instance) -> Container:
    """Let a restore have come as far as its restoring container, with the lease that it read before."""
    container = app.manager.find(instance.id)
    state = read_state(app.runtime, container)
    launch = some_launch(
        record=state.record,
        lease=state.lease,
        role=Role.RESTORING,
        image=Image(ref=container.image, id=container.base_id, base_id=container.base_id),
        bootstrap=Bootstrap(database="postgres", username="postgres"),
    )
    restoring = world.add(launch, container.endpoint.port, running=False)
    assert restoring is not None
    return restoring


def test_an_extend_waits_for_a_restore_and_is_not_undone_by_it(
    memory_stage: MemoryStage, app: App, world: MemoryWorld
) -> None:
    instance = create(app, ttl="1h")
    restoring = begin_restore(app, world, instance)
    extended: list[Instance] = []

    def finish() -> None:
        wait_until(lambda: world.bodies[instance.container_id].lease != instance.lease)
        assert extended == [], "it is not known yet which lease the new one has"
        app.runtime.remove(instance.container_id)
        app.runtime.finish_restore(restoring, deadline=patience())

    other = build_app(memory_stage).manager
    raised = run_together(lambda: extended.append(other.extend(instance.id, ttl="5h")), finish)
    assert raised == []
    assert extended[0].container_id == restoring.container_id
    assert world.bodies[restoring.container_id].lease == extended[0].lease != instance.lease


def test_an_extend_does_not_wait_for_a_restorer_that_is_dead(app: App, world: MemoryWorld) -> None:
    instance = create(app, ttl="1h")
    restoring = begin_restore(app, world, instance)
    edit_container(world, restoring.container_id, ready_by=datetime.now(UTC))
    assert app.manager.extend(instance.id, ttl="5h").container_id == instance.container_id


def test_an_extend_that_cannot_tell_how_a_restore_ends_says_so(app: App, world: MemoryWorld) -> None:
    instance = create(app, ttl="1h")
    begin_restore(app, world, instance)
    with pytest.raises(DeadlineExceeded, match=f"waiting until {instance.id} is restored"):
        app.manager.extend(instance.id, ttl="5h", deadline=Deadline(0.2))


def test_a_dead_server_without_a_record_is_not_restored(app: App, world: MemoryWorld) -> None:
    """Nobody could log in to what came back."""
    instance = create(app)
    app.snapshots.take(instance.id, "monday")
    world.kill(instance.container_id)
    body = world.bodies[instance.container_id]
    body.record = replace(body.record, id="somebodyelse")
    with pytest.raises(ServerNotReady, match="its record cannot be read") as caught:
        app.snapshots.restore(instance.id, "monday")
    assert "branch" in caught.value.hint
    assert list(world.bodies) == [instance.container_id]


def test_a_restore_does_not_lengthen_the_longest_life(app: App, world: MemoryWorld) -> None:
    instance = create(app, ttl="none")
    end = app.manager.find(instance.id).hard_end
    app.snapshots.take(instance.id, "monday")
    restored = app.snapshots.restore(instance.id, "monday")
    assert app.manager.find(restored.id).hard_end == end
    assert restored.lease == Lease(expires_at=end)


def test_a_password_that_was_changed_inside_is_the_records_again_after_a_restore(
    memory_stage: MemoryStage, app: App, world: MemoryWorld, instance: Instance
) -> None:
    app.snapshots.take(instance.id, "monday")
    body = world.bodies[instance.container_id]
    body.cluster = replace(body.cluster, password=Secret("changed inside"))
    app.snapshots.restore(instance.id, "monday")
    memory_stage.sql.login(conninfo_of(instance))


def test_a_restored_server_that_never_answers_is_still_there(
    memory_stage: MemoryStage, world: MemoryWorld
) -> None:
    """The old one is gone: what is left must not be lost too."""
    program = build_app(memory_stage, create_timeout=0.3)
    instance = create(program)
    program.snapshots.take(instance.id, "monday")
    world.logins_until_ready = NEVER
    with pytest.raises(ServerNotReady):
        program.snapshots.restore(instance.id, "monday")
    assert [body.container.id for body in world.bodies.values()] == [instance.id]


def test_restores_at_once_leave_one_instance(memory_stage: MemoryStage, app: App, world: MemoryWorld) -> None:
    instance = create(app)
    app.snapshots.take(instance.id, "monday")
    programs = [build_app(memory_stage) for _ in range(4)]
    raised = run_together(*(lambda one=one: one.snapshots.restore(instance.id, "monday") for one in programs))
    assert {type(error) for error in raised} <= {InstanceNotFound}
    assert {body.container.id for body in world.bodies.values()} == {instance.id}
    assert len(programs) - len(raised) >= 1


def test_progress_says_what_is_done(app: App, instance: Instance) -> None:
    app.snapshots.take(instance.id, "monday")
    told: list[Progress] = []
    app.snapshots.restore(instance.id, "monday", progress=told.append)
    assert told[0].message == f"restoring {instance.id} to monday"
