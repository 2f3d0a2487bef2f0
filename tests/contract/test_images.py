"""Clusters kept as images: prepared once, frozen, branched from, put back to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.errors import Cancelled, LoginFailed
from dev_postgres_mcp.model import Lease, Secret
from dev_postgres_mcp.parsing import new_id, new_password
from dev_postgres_mcp.runtimes.base import Kind, Role
from tests.helpers.acts import (
    add_database,
    freeze,
    has_database,
    is_gone,
    prepared_launch,
    read_state,
    start_prepared,
    wait_for_login,
)
from tests.helpers.stages import an_hour_from_now, owned, patience, run_together, some_record

if TYPE_CHECKING:
    from dev_postgres_mcp.model import Conninfo
    from dev_postgres_mcp.runtimes.base import Container, Image, Launch, Runtime, StoredImage
    from tests.helpers.stages import Stage


def find_base(stage: Stage, runtime: Runtime) -> Image:
    base = runtime.find_image(stage.add_base())
    assert base is not None
    return base


def conninfo_of(runtime: Runtime, container: Container) -> Conninfo:
    return read_state(runtime, container).record.conninfo(container.endpoint)


def launch_from(stage: Stage, runtime: Runtime, stored: StoredImage) -> Launch:
    """Return the launch of a branch, with a password of its own."""
    image = runtime.find_image(stored.image.id)
    assert image is not None
    assert image.prepared
    launch = prepared_launch(stage, runtime)
    record = some_record(database="postgres", username="postgres", password=Secret(new_password()))
    return replace(launch, record=record, image=replace(image, ref=stored.image.ref))


def branch_from(stage: Stage, runtime: Runtime, stored: StoredImage) -> Container:
    launch = launch_from(stage, runtime, stored)
    container = runtime.start(launch, deadline=patience())
    wait_for_login(stage, launch.record.conninfo(container.endpoint))
    return container


def test_an_image_is_prepared_once_and_found_by_everybody(stage: Stage, runtime: Runtime) -> None:
    base, other = find_base(stage, runtime), stage.runtime(client="elsewhere")
    assert runtime.find_prepared(base) is None
    told: list[str] = []
    made = runtime.prepare(base, progress=lambda progress: told.append(progress.message), deadline=patience())
    assert (made.ref, made.base_id, made.prepared, made.seed) == (base.ref, base.id, True, "")
    assert made.version == base.version == stage.version
    assert told == [f"preparing {base.ref} once"]
    assert runtime.find_prepared(base) == other.find_prepared(base) == made
    assert other.prepare(base, progress=lambda _: None, deadline=patience()) == made
    (stored,) = [one for one in other.images() if one.image.base_id == base.id]
    assert (stored.image.id, stored.kind, stored.name, stored.source) == (made.id, Kind.PREPARED, "", "")
    assert stored.key
    assert stored.size > 0
    assert owned(stage, runtime) == ()


def test_several_who_prepare_at_once_make_one_image(stage: Stage, runtime: Runtime) -> None:
    base = find_base(stage, runtime)
    made: list[Image] = []

    def prepare(preparer: Runtime) -> None:
        made.append(preparer.prepare(base, progress=lambda _: None, deadline=patience()))

    preparers = [stage.runtime() for _ in range(3)]
    assert run_together(*(lambda one=one: prepare(one) for one in preparers)) == []
    assert len({image.id for image in made}) == 1
    assert len([one for one in runtime.images() if one.image.base_id == base.id]) == 1


def test_a_cancelled_preparation_leaves_nothing(stage: Stage, runtime: Runtime) -> None:
    base, deadline = find_base(stage, runtime), patience()
    deadline.cancel()
    with pytest.raises(Cancelled):
        runtime.prepare(base, progress=lambda _: None, deadline=deadline)
    assert runtime.find_prepared(base) is None
    assert not [one for one in runtime.list() if one.role is Role.PREPARING and one.base_id == base.id]


def test_every_server_on_a_prepared_image_has_a_password_of_its_own(stage: Stage, runtime: Runtime) -> None:
    first, second = start_prepared(stage, runtime), start_prepared(stage, runtime)
    assert first.image_id == second.image_id != first.base_id
    assert first.image_kind is Kind.PREPARED
    passwords = [conninfo_of(runtime, container).password for container in (first, second)]
    assert passwords[0] != passwords[1]
    with pytest.raises(LoginFailed):
        stage.sql.login(replace(conninfo_of(runtime, first), password=passwords[1]))


def test_a_frozen_cluster_is_listed_with_all_that_a_branch_needs(stage: Stage, runtime: Runtime) -> None:
    source = start_prepared(stage, runtime, settings={"work_mem": "8MB"})
    name, end = f"s-{new_id()}", an_hour_from_now()
    frozen = freeze(stage, runtime, source, name, expires_at=end, database="shop", username="me")
    (listed,) = [one for one in stage.runtime(client="elsewhere").images() if one.source == source.id]
    assert listed == frozen
    assert (frozen.kind, frozen.name, frozen.key, frozen.expires_at) == (Kind.SNAPSHOT, name, name, end)
    assert (frozen.database, frozen.username) == ("shop", "me")
    assert (frozen.limits, frozen.settings) == (source.limits, source.settings)
    assert (frozen.image.ref, frozen.image.base_id) == (source.image, source.base_id)
    assert frozen.image.version == stage.version
    assert frozen.created_at.utcoffset() == timedelta(0)


def test_whoever_is_frozen_goes_on(stage: Stage, runtime: Runtime) -> None:
    source = start_prepared(stage, runtime)
    freeze(stage, runtime, source, f"s-{new_id()}")
    assert runtime.inspect(source.container_id).running
    stage.sql.login(conninfo_of(runtime, source))


def test_a_branch_has_the_data_and_nothing_else_of_its_source(stage: Stage, runtime: Runtime) -> None:
    source = start_prepared(stage, runtime)
    theirs = conninfo_of(runtime, source)
    add_database(stage, theirs, "before")
    stored = freeze(stage, runtime, source, f"s-{new_id()}")
    add_database(stage, theirs, "after")
    branch = branch_from(stage, runtime, stored)
    ours = conninfo_of(runtime, branch)
    assert has_database(stage, ours, "before")
    assert not has_database(stage, ours, "after")
    assert (branch.image_id, branch.image_kind) == (stored.image.id, Kind.SNAPSHOT)
    assert branch.base_id == source.base_id
    assert branch.maker == stage.session
    assert read_state(stage.runtime(client="elsewhere"), branch).record.id == branch.id
    with pytest.raises(LoginFailed):
        stage.sql.login(replace(ours, password=theirs.password))
    add_database(stage, ours, "of the branch")
    assert not has_database(stage, theirs, "of the branch")


def test_a_branch_can_be_frozen_and_branched_again(stage: Stage, runtime: Runtime) -> None:
    container = start_prepared(stage, runtime)
    for generation in range(3):
        add_database(stage, conninfo_of(runtime, container), f"generation {generation}")
        container = branch_from(stage, runtime, freeze(stage, runtime, container, f"s-{new_id()}"))
    login = conninfo_of(runtime, container)
    assert [has_database(stage, login, f"generation {number}") for number in range(4)] == [
        True,
        True,
        True,
        False,
    ]


def test_an_image_in_use_stays(stage: Stage, runtime: Runtime) -> None:
    source = start_prepared(stage, runtime)
    stored = freeze(stage, runtime, source, f"s-{new_id()}")
    branch = branch_from(stage, runtime, stored)
    assert runtime.remove_image(stored.image.id) is False
    assert stored in runtime.images()
    runtime.remove(branch.container_id)
    assert runtime.remove_image(stored.image.id) is True
    assert stored.image.id not in {one.image.id for one in stage.runtime().images()}
    assert runtime.remove_image(stored.image.id) is False
    assert not is_gone(runtime, source)


def test_a_restored_instance_is_the_same_with_the_data_of_then(stage: Stage, runtime: Runtime) -> None:
    lease = Lease(expires_at=an_hour_from_now(), idle_timeout=600.0)
    container = start_prepared(stage, runtime, lease=lease)
    before = read_state(runtime, container)
    login = before.record.conninfo(container.endpoint)
    add_database(stage, login, "before")
    stored = freeze(stage, runtime, container, f"s-{new_id()}")
    add_database(stage, login, "after")
    image = runtime.find_image(stored.image.id)
    assert image is not None
    launch = replace(prepared_launch(stage, runtime), record=before.record, image=image, lease=lease)
    restored = runtime.restore(container, launch, deadline=patience())
    wait_for_login(stage, login)
    assert (restored.id, restored.endpoint, restored.role) == (
        container.id,
        container.endpoint,
        Role.INSTANCE,
    )
    assert restored.container_id != container.container_id
    assert (container.restored, restored.restored) == (False, True)
    assert container.contract == restored.contract == runtime.capabilities.contract
    assert is_gone(runtime, container)
    assert has_database(stage, login, "before")
    assert not has_database(stage, login, "after")
    for reader in (runtime, stage.runtime(client="elsewhere")):
        assert read_state(reader, restored) == before
    assert [one.container_id for one in owned(stage, runtime)] == [restored.container_id]


def test_what_was_restored_already_needs_no_finishing(stage: Stage, runtime: Runtime) -> None:
    instance = start_prepared(stage, runtime)
    restoring = replace(instance, role=Role.RESTORING)
    assert runtime.finish_restore(restoring, deadline=patience()) is None
    runtime.remove(instance.container_id)
    assert runtime.finish_restore(restoring, deadline=patience()) is None
