"""The warm pool, as a face uses it: a create takes a spare, and nobody can tell."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dev_postgres_mcp.app import assemble_app
from dev_postgres_mcp.errors import (
    AmbiguousReference,
    InitFailed,
    InstanceNotFound,
    InvalidInput,
    LoginFailed,
)
from dev_postgres_mcp.model import Owner, Secret, Status
from dev_postgres_mcp.runtimes.base import Role
from tests.helpers.acts import conninfo_of, create, is_gone, offer_spare
from tests.helpers.stages import MEGABYTE, build_app, owned, owner_of, patience, run_together, wait_until

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance
    from dev_postgres_mcp.runtimes.base import Container
    from tests.helpers.stages import Stage

HOSTILE = (
    "shop \"of\" 'quotes'; --",
    "naïve 数据库 🐘",
    "a/b?c=d&e%20@f:g#h",
    " spaces ",
    "line\nbreak",
    "tab\tand \x01\x02 bell\x07",
    "x" * 63,
    "template1 ",
)


@pytest.fixture
def pool(stage: Stage) -> App:
    """A program with a limit of its own, by which nobody else claims its spares."""
    return open_pool(stage)


def open_pool(stage: Stage, **settings: Any) -> App:
    modest = {"memory": stage.memory - 384 * MEGABYTE, "pool_memory_share": 1.0}
    return build_app(stage, **modest | settings)


def spares_of(stage: Stage, program: App) -> list[Container]:
    return [one for one in owned(stage, program.runtime) if one.role is Role.SPARE]


def offer(stage: Stage, program: App, size: int = 1) -> list[Container]:
    return [offer_spare(stage, program) for _ in range(size)]


def fill(stage: Stage, program: App, size: int) -> list[Container]:
    program.pool.fill(size, seconds=3600, deadline=patience())
    return spares_of(stage, program)


def test_a_pool_is_filled_up_to_its_size(stage: Stage, pool: App) -> None:
    """Needs room on the engine, since a pool leaves to others what is free."""
    first = fill(stage, pool, 2)
    assert len(first) == 2
    assert fill(stage, pool, 2) == first, "there are enough"
    assert len(fill(stage, pool, 3)) == 3
    status = pool.pool.status()
    assert status.size == 1
    listed = {spare.id: spare for spare in status.spares}
    for spare in first:
        seen = listed[spare.id]
        assert (seen.version, seen.port, seen.maker) == (stage.version, spare.endpoint.port, stage.session)
        assert seen.created_at == spare.created_at


def test_spares_are_no_instances(stage: Stage, pool: App) -> None:
    (spare,) = offer(stage, pool)
    assert spare.id not in {instance.id for instance in pool.manager.list().instances}
    assert spare.id not in pool.manager.complete("")
    for ref in (spare.id, spare.name, spare.container_id):
        with pytest.raises(InstanceNotFound):
            pool.manager.get(ref)
        pool.manager.drop([ref])
    assert not is_gone(pool.runtime, spare)


def test_a_create_takes_a_spare_and_gives_it_all_that_was_asked_for(stage: Stage, pool: App) -> None:
    (spare,) = offer(stage, pool)
    instance = create(
        pool,
        name="a shop",
        database="shop",
        username="keeper",
        password=Secret("of my own"),
        labels={"suite": "a"},
        ttl="2h",
        idle_timeout="30m",
    )
    assert (instance.id, instance.container_id) == (spare.id, spare.container_id)
    assert spares_of(stage, pool) == []
    login = conninfo_of(instance)
    assert (login.database, login.username, login.password) == ("shop", "keeper", Secret("of my own"))
    stage.sql.login(login)
    assert (instance.name, instance.labels, instance.status) == ("a shop", {"suite": "a"}, Status.READY)
    assert instance.owner == owner_of(stage)
    assert instance.created_at > spare.created_at
    assert instance.lease.expires_at is not None
    assert 7200 - 60 < (instance.lease.expires_at - instance.created_at).total_seconds() <= 7201
    assert instance.lease.idle_timeout == 1800
    for client in ("here", "elsewhere"):
        assert build_app(stage, client=client).manager.get(instance.id) == instance


@pytest.mark.parametrize("text", HOSTILE)
def test_a_claimed_spare_takes_any_name(stage: Stage, pool: App, text: str) -> None:
    (spare,) = offer(stage, pool)
    instance = create(pool, database=text, username=text)
    assert instance.id == spare.id
    login = conninfo_of(instance)
    assert (login.database, login.username) == (text, text)
    stage.sql.login(login)
    assert build_app(stage, client="elsewhere").manager.get(instance.id) == instance


@pytest.mark.parametrize(
    "password",
    ["p@ss:w/o%rd?#&='\"\\ $x", "пароль 🐘", " outer spaces ", "\ttabs\t", "a\x01b\x02c", "\\n", "x" * 900],
)
def test_a_claimed_spare_takes_any_password(stage: Stage, pool: App, password: str) -> None:
    (spare,) = offer(stage, pool)
    instance = create(pool, password=Secret(password))
    assert instance.id == spare.id
    stage.sql.login(conninfo_of(instance))
    assert build_app(stage, client="elsewhere").manager.get(instance.id) == instance


def test_nobody_can_log_in_with_what_the_spare_had(stage: Stage, pool: App) -> None:
    (spare,) = offer(stage, pool)
    state = pool.runtime.read_state(spare)
    assert state is not None
    instance = create(pool, database="shop")
    assert instance.id == spare.id
    born = state.record.conninfo(spare.endpoint)
    for database in ("postgres", "shop"):
        with pytest.raises(LoginFailed):
            stage.sql.login(born.on(database=database))


def test_creates_at_once_share_the_spares_and_start_the_rest(stage: Stage, pool: App) -> None:
    spares = {spare.id for spare in offer(stage, pool, 2)}
    created: list[Instance] = []
    lock = threading.Lock()

    def one(program: App) -> None:
        instance = create(program)
        with lock:
            created.append(instance)

    programs = [open_pool(stage) for _ in range(4)]
    assert run_together(*(lambda each=each: one(each) for each in programs)) == []
    assert len({instance.container_id for instance in created}) == 4
    assert spares <= {instance.id for instance in created}
    for instance in created:
        stage.sql.login(conninfo_of(instance))
    assert spares_of(stage, pool) == []


@pytest.mark.parametrize(
    "asked", [{"memory": "300m"}, {"cpus": 0.5}, {"settings": {"work_mem": "8MB"}}], ids=repr
)
def test_what_no_sql_can_adjust_is_started_cold(stage: Stage, pool: App, asked: dict[str, object]) -> None:
    (spare,) = offer(stage, pool)
    assert create(pool, **asked).id != spare.id
    assert not is_gone(pool.runtime, spare)


def test_a_spare_of_another_image_is_left_alone(stage: Stage, pool: App) -> None:
    (spare,) = offer(stage, pool)
    other = open_pool(stage, image_repository=stage.add_base().rpartition(":")[0])
    assert create(other).id != spare.id
    assert not is_gone(pool.runtime, spare)


def test_a_spare_that_died_is_put_away_and_a_new_server_started(stage: Stage, pool: App) -> None:
    (spare,) = offer(stage, pool)
    stage.kill(spare.container_id)
    instance = create(pool)
    assert instance.id != spare.id
    stage.sql.login(conninfo_of(instance))
    assert is_gone(pool.runtime, spare)


def test_a_claim_that_fails_leaves_nothing(stage: Stage, pool: App) -> None:
    (spare,) = offer(stage, pool)
    with pytest.raises(InitFailed, match="no_such_extension"):
        create(pool, extensions=["no_such_extension"])
    assert is_gone(pool.runtime, spare)
    assert owned(stage, pool.runtime) == ()


def test_extensions_are_created_in_a_claimed_spare(stage: Stage, pool: App) -> None:
    (spare,) = offer(stage, pool)
    assert create(pool, database="shop", extensions=["hstore"]).id == spare.id


def test_only_the_spares_of_ones_own_session_are_drained(stage: Stage, pool: App) -> None:
    """What a server does that ends."""
    mine = offer(stage, pool, 2)
    other = replace_session(stage, pool)
    assert other.pool.drain(own=True) == ()
    assert spares_of(stage, pool) == mine
    assert set(pool.pool.drain(own=True)) == {spare.id for spare in mine}
    assert owned(stage, pool.runtime) == ()


def replace_session(stage: Stage, program: App) -> App:
    owner = Owner(session=f"{stage.session}-other")
    return assemble_app(program.settings, runtime=program.runtime, sql=stage.sql, owner=owner)


def test_a_keeper_fills_the_pool_refills_it_and_ends_it_with_itself(stage: Stage) -> None:
    program = open_pool(stage, pool_size=1)
    program.keeper.start()
    try:
        wait_until(lambda: spares_of(stage, program))
        (first,) = spares_of(stage, program)
        assert create(program).id == first.id
        program.keeper.refill()
        wait_until(lambda: spares_of(stage, program))
    finally:
        program.keeper.stop(30)
    assert spares_of(stage, program) == []
    assert [one.id for one in owned(stage, program.runtime)] == [first.id], "what was claimed stays"


def test_an_instance_is_extended_and_everybody_sees_it(stage: Stage, program: App) -> None:
    instance = create(program, ttl="1h")
    assert instance.lease.expires_at is not None
    longer = program.manager.extend(instance.id[:10], ttl="5h")
    assert longer.lease.expires_at is not None
    assert (
        4 * 3600 - 60 < (longer.lease.expires_at - instance.lease.expires_at).total_seconds() < 4 * 3600 + 60
    )
    assert replace(longer, lease=instance.lease) == instance, "nothing else has changed"
    other = build_app(stage, client="elsewhere").manager
    assert other.get(instance.id) == longer
    idle = other.extend(instance.id, idle_timeout="15m")
    assert (idle.lease.expires_at, idle.lease.idle_timeout) == (longer.lease.expires_at, 900)
    endless = program.manager.extend(instance.id, ttl="none", idle_timeout="none")
    assert endless.lease.idle_timeout is None
    assert endless.lease.expires_at is not None, "the longest life, fixed when it was created"
    assert 6.9 < (endless.lease.expires_at - instance.created_at).total_seconds() / 86_400 < 7.1


@pytest.mark.parametrize("asked", [{}, {"ttl": "8d"}, {"ttl": "soon"}, {"idle_timeout": "-1s"}], ids=repr)
def test_what_cannot_be_extended_is_refused_and_changes_nothing(program: App, asked: dict[str, Any]) -> None:
    instance = create(program)
    with pytest.raises(InvalidInput) as caught:
        program.manager.extend(instance.id, **asked)
    assert caught.value.hint
    assert program.manager.get(instance.id) == instance


def test_an_instance_whose_lease_is_over_is_gone_for_everybody(stage: Stage, program: App) -> None:
    instance = create(program, ttl="1s", name=f"short of {stage.session}")
    with pytest.raises(InstanceNotFound):
        wait_until(lambda: program.manager.get(instance.id) is None)
    with pytest.raises(InstanceNotFound):
        build_app(stage).manager.get(f"short of {stage.session}")
    assert owned(stage, program.runtime) == ()


def test_two_of_a_name_cannot_be_extended_by_it(stage: Stage, program: App) -> None:
    name = f"twins of {stage.session}"
    create(program, name=name)
    create(program, name=name)
    with pytest.raises(AmbiguousReference, match="2 instances"):
        program.manager.extend(name, ttl="1h")
