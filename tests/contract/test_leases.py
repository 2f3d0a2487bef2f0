"""How long a container lives, and that what is written beside it is what everybody reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dev_postgres_mcp.errors import EngineFailed, InstanceNotFound
from dev_postgres_mcp.model import Lease, Secret
from dev_postgres_mcp.runtimes.base import Role
from tests.helpers.acts import is_gone, read_state, start_prepared, start_spare
from tests.helpers.stages import an_hour_from_now, patience, wait_until

if TYPE_CHECKING:
    from dev_postgres_mcp.runtimes.base import Runtime
    from tests.helpers.stages import Stage


def soon(seconds: float = 2.0) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_a_lease_that_one_writes_all_others_read_at_once(stage: Stage, runtime: Runtime) -> None:
    container = start_prepared(stage, runtime)
    readers = [runtime, stage.runtime(), stage.runtime(client="elsewhere"), stage.runtime(client="third")]
    before = [read_state(reader, container) for reader in readers]
    assert len(set(map(repr, before))) == 1
    for number, writer in enumerate(readers):
        lease = Lease(expires_at=an_hour_from_now() + timedelta(hours=number), idle_timeout=60.0 + number)
        writer.write_state(container, lease, deadline=patience())
        for reader in readers:
            assert read_state(reader, container) == replace(before[0], lease=lease)


def test_a_record_that_one_writes_all_others_read_at_once(stage: Stage, runtime: Runtime) -> None:
    container = start_prepared(stage, runtime)
    other = stage.runtime(client="elsewhere")
    old = read_state(other, container).record
    record = replace(
        old,
        name="renamed",
        database="a\nb",
        username=" me ",
        password=Secret(" p'w\\ 🐘 "),
        labels={"new": "one"},
    )
    runtime.write_state(container, Lease(), record=record, deadline=patience())
    for reader in (runtime, other):
        assert read_state(reader, container).record == record


def test_a_lease_is_changed_without_the_record(stage: Stage, runtime: Runtime) -> None:
    container = start_prepared(stage, runtime)
    record = read_state(runtime, container).record
    runtime.write_state(container, Lease(idle_timeout=600.0), deadline=patience())
    assert read_state(stage.runtime(client="elsewhere"), container).record == record
    stage.sql.login(record.conninfo(container.endpoint))


def test_nothing_is_written_beside_what_is_gone(stage: Stage, runtime: Runtime) -> None:
    container = start_prepared(stage, runtime)
    runtime.remove(container.container_id)
    with pytest.raises(InstanceNotFound):
        runtime.write_state(container, Lease(), deadline=patience())


def test_nothing_is_written_beside_a_paused_server(stage: Stage, runtime: Runtime) -> None:
    container = start_prepared(stage, runtime)
    stage.pause(container.container_id)
    with pytest.raises(EngineFailed):
        runtime.write_state(container, Lease(), deadline=patience())


def test_a_dead_servers_lease_can_still_be_moved(stage: Stage, runtime: Runtime) -> None:
    """For whoever wants to look longer at what it left."""
    container = start_prepared(stage, runtime)
    stage.kill(container.container_id)
    lease = Lease(expires_at=an_hour_from_now())
    runtime.write_state(container, lease, deadline=patience())
    assert read_state(stage.runtime(client="elsewhere"), container).lease == lease


@pytest.mark.parametrize(
    "ending",
    [
        lambda: {"lease": Lease(expires_at=soon())},
        lambda: {"lease": Lease(idle_timeout=2.0)},
        lambda: {"lease": Lease(expires_at=an_hour_from_now(), idle_timeout=2.0)},
        lambda: {"hard_end": soon()},
        lambda: {"lease": Lease(expires_at=an_hour_from_now()), "hard_end": soon()},
        lambda: {"role": Role.SPARE, "spare_until": soon()},
        lambda: {"role": Role.SPARE, "spare_until": an_hour_from_now(), "hard_end": soon()},
    ],
    ids=[
        "lease",
        "idle",
        "idle before the lease",
        "hard end",
        "hard end before the lease",
        "spare",
        "spare's hard end",
    ],
)
def test_what_is_over_ends_by_itself_and_is_gone(stage: Stage, runtime: Runtime, ending: Any) -> None:
    container = start_prepared(stage, runtime, **ending())
    wait_until(lambda: is_gone(runtime, container))
    assert container.container_id not in {one.container_id for one in runtime.list()}


def test_a_lease_that_is_cut_short_ends_the_instance(stage: Stage, runtime: Runtime) -> None:
    container = start_prepared(stage, runtime, lease=Lease(expires_at=an_hour_from_now()))
    stage.runtime(client="elsewhere").write_state(container, Lease(expires_at=soon(1)), deadline=patience())
    wait_until(lambda: is_gone(runtime, container))


def test_a_lease_that_is_moved_on_keeps_the_instance(stage: Stage, runtime: Runtime) -> None:
    end = soon(2)
    container = start_prepared(stage, runtime, lease=Lease(expires_at=end))
    runtime.write_state(container, Lease(expires_at=an_hour_from_now()), deadline=patience())
    wait_until(lambda: datetime.now(UTC) > end + timedelta(seconds=2))
    stage.sql.login(read_state(runtime, container).record.conninfo(container.endpoint))


def test_a_server_in_use_is_not_idle(stage: Stage, runtime: Runtime) -> None:
    container = start_prepared(stage, runtime, lease=Lease(idle_timeout=3.0))
    conninfo = read_state(runtime, container).record.conninfo(container.endpoint)
    until = soon(6)
    wait_until(lambda: stage.sql.login(conninfo) >= 0 and datetime.now(UTC) > until)
    wait_until(lambda: is_gone(runtime, container))


def test_a_dead_server_goes_when_its_lease_is_over(stage: Stage, runtime: Runtime) -> None:
    container = start_prepared(stage, runtime)
    stage.kill(container.container_id)
    runtime.write_state(container, Lease(expires_at=soon(1)), deadline=patience())
    wait_until(lambda: is_gone(runtime, container))


def test_a_spare_whose_end_is_moved_on_lives(stage: Stage, runtime: Runtime) -> None:
    end = soon(2)
    spare = start_spare(stage, runtime, end)
    stage.runtime(client="elsewhere").renew(spare, an_hour_from_now(), deadline=patience())
    wait_until(lambda: datetime.now(UTC) > end + timedelta(seconds=2))
    assert runtime.inspect(spare.container_id).role is Role.SPARE


def test_the_end_of_a_spare_moves_no_lease(stage: Stage, runtime: Runtime) -> None:
    """A keeper is a moment late: its spare is an instance already."""
    spare = start_spare(stage, runtime)
    assert runtime.claim(spare, deadline=patience())
    lease = Lease(expires_at=an_hour_from_now())
    runtime.write_state(spare, lease, deadline=patience())
    runtime.renew(spare, soon(1), deadline=patience())
    assert read_state(runtime, spare).lease == lease
    after = soon(3)
    wait_until(lambda: datetime.now(UTC) > after)
    assert not is_gone(runtime, spare)


def test_what_is_gone_cannot_be_moved_on(stage: Stage, runtime: Runtime) -> None:
    spare = start_spare(stage, runtime)
    runtime.remove(spare.container_id)
    with pytest.raises(InstanceNotFound):
        runtime.renew(spare, an_hour_from_now(), deadline=patience())


def test_forgetting_the_gone_leaves_what_is_remembered_of_the_others(stage: Stage, runtime: Runtime) -> None:
    kept, gone = start_prepared(stage, runtime), start_prepared(stage, runtime)
    known = read_state(runtime, kept)
    read_state(runtime, gone)
    runtime.remove(gone.container_id)
    runtime.forget_all_but(runtime.list())
    assert read_state(runtime, kept) == known
    stage.pause(kept.container_id)
    assert runtime.read_state(runtime.inspect(kept.container_id)) == known
