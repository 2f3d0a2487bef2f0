"""A spare waits until exactly one claims it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.errors import InstanceNotFound
from dev_postgres_mcp.runtimes.base import Role
from tests.helpers.acts import is_gone, read_state, start_prepared, start_spare
from tests.helpers.stages import an_hour_from_now, owned, patience, run_together

if TYPE_CHECKING:
    from dev_postgres_mcp.runtimes.base import Container, Runtime
    from tests.helpers.stages import Stage


def test_a_spare_is_listed_as_what_it_is(stage: Stage, runtime: Runtime) -> None:
    spare = start_spare(stage, runtime)
    for reader in (runtime, stage.runtime(client="elsewhere")):
        (listed,) = owned(stage, reader)
        for seen in (spare, listed, reader.inspect(spare.container_id)):
            assert (seen.role, seen.name) == (Role.SPARE, f"mcp-postgres-spare-{spare.id}")
            assert seen.running
        state = read_state(reader, spare)
        assert state.record.id == spare.id
        stage.sql.login(state.record.conninfo(spare.endpoint))


def test_what_warms_up_cannot_be_claimed_before_it_is_offered(stage: Stage, runtime: Runtime) -> None:
    warming = start_prepared(stage, runtime, role=Role.WARMING, spare_until=an_hour_from_now())
    other = stage.runtime(client="elsewhere")
    (listed,) = owned(stage, other)
    assert (listed.role, listed.name) == (Role.WARMING, f"mcp-postgres-warming-{warming.id}")
    assert other.claim(replace(listed, role=Role.SPARE), deadline=patience()) is None
    offered = runtime.offer(warming, deadline=patience())
    (listed,) = owned(stage, other)
    assert offered.role is listed.role is Role.SPARE
    assert other.claim(listed, deadline=patience()) is not None


def test_what_is_gone_cannot_be_offered(stage: Stage, runtime: Runtime) -> None:
    warming = start_prepared(stage, runtime, role=Role.WARMING, spare_until=an_hour_from_now())
    runtime.remove(warming.container_id)
    with pytest.raises(InstanceNotFound):
        runtime.offer(warming, deadline=patience())


def test_a_claimed_spare_is_an_instance_to_everybody(stage: Stage, runtime: Runtime) -> None:
    spare = start_spare(stage, runtime)
    claimed = stage.runtime(client="elsewhere").claim(spare, deadline=patience())
    assert claimed is not None
    (listed,) = owned(stage, runtime)
    for seen in (claimed, listed, runtime.inspect(spare.container_id)):
        assert (seen.role, seen.name) == (Role.INSTANCE, f"mcp-postgres-{spare.id}")
        assert (seen.id, seen.container_id, seen.endpoint) == (spare.id, spare.container_id, spare.endpoint)


def test_of_many_claimants_one_wins(stage: Stage, runtime: Runtime) -> None:
    spares = [start_spare(stage, runtime) for _ in range(3)]
    claimants = [stage.runtime() for _ in range(8)]
    for spare in spares:
        won: list[Container] = []

        def claim(claimant: Runtime, spare: Container = spare, won: list[Container] = won) -> None:
            claimed = claimant.claim(spare, deadline=patience())
            if claimed is not None:
                won.append(claimed)

        assert run_together(*(lambda one=one: claim(one) for one in claimants)) == []
        assert [claimed.container_id for claimed in won] == [spare.container_id]


def test_what_was_claimed_cannot_be_claimed_again(stage: Stage, runtime: Runtime) -> None:
    spare = start_spare(stage, runtime)
    assert runtime.claim(spare, deadline=patience()) is not None
    assert runtime.claim(spare, deadline=patience()) is None
    assert not is_gone(runtime, spare)


def test_a_spare_that_is_gone_cannot_be_claimed(stage: Stage, runtime: Runtime) -> None:
    spare = start_spare(stage, runtime)
    runtime.remove(spare.container_id)
    assert runtime.claim(spare, deadline=patience()) is None


def test_an_instance_cannot_be_claimed(stage: Stage, runtime: Runtime) -> None:
    instance = start_prepared(stage, runtime)
    assert runtime.claim(instance, deadline=patience()) is None
    assert not is_gone(runtime, instance)
