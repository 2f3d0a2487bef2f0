"""Several processes claim from one pool at once: each spare has one winner, and everybody gets a server of his own."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.program import Program
from tests.acceptance.wire import RawSession, text_of
from tests.faults.realm import Realm
from tests.faults.second_engine import wait_until
from tests.integration.creators import create_in_processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.second_engine import SecondEngine

pytestmark = pytest.mark.docker

ROOMY: dict[str, Any] = {"max_instances": 1000, "max_total_memory": "100t", "pool_memory_share": 1}


@pytest.fixture
def realm(engine: SecondEngine) -> Iterator[Realm]:
    """An engine whose every spare is known."""
    realm = Realm(engine)
    yield realm
    realm.close()


def spares(realm: Realm) -> set[str]:
    """Return the ids of all spares that can be claimed."""
    return {spare.id for spare in realm.app.pool.status().spares}


def check_own_server(realm: Realm, dsns: list[str]) -> None:
    """Judge that no two DSNs lead to one server: each holds what was written through it last."""
    for number, dsn in enumerate(dsns):
        realm.run(dsn, f"CREATE TABLE mine AS SELECT {number} AS number")
    assert [realm.rows(dsn, "SELECT number FROM mine") for dsn in dsns] == [
        [(number,)] for number in range(len(dsns))
    ]


def test_of_processes_that_claim_at_one_moment_no_two_get_the_same(realm: Realm) -> None:
    realm.engine.ask("pool", "fill", "--size", "4", **ROOMY)
    before = spares(realm)
    assert len(before) == 4
    settings = {"docker_host": realm.engine.address, **ROOMY}
    created = create_in_processes(4, 2, settings=settings, prefix=realm.engine.enter())
    assert [one.text for one in created if one.error] == []
    got = [one.id for one in created]
    assert len(set(got)) == len(got) == 8
    print(f"{len(before & set(got))} of 8 were claimed: {sorted(round(one.seconds, 2) for one in created)} s")
    assert before <= set(got), "a spare that somebody could have had is left"
    assert spares(realm) == set()
    check_own_server(realm, [one.dsn for one in created])


def test_two_servers_and_four_commands_share_one_pool(realm: Realm, tmp_path: Path) -> None:
    engine = realm.engine
    # A server hears of a command's claim with its next word to its spares, a third of their ttl later.
    settings = {**ROOMY, "pool_size": 3, "spare_ttl": "9s"}
    program = Program(
        command=tuple(engine.enter(sys.executable, "-m", "dev_postgres_mcp")),
        environment=engine.environment(**settings),
        directory=tmp_path,
    )
    engine.ask("create", **settings)
    with RawSession(program) as first, RawSession(program) as second:
        for _ in range(2):
            wait_until(lambda: len(spares(realm)) >= 3, "the pool is full")
            before = spares(realm)
            commands = [engine.begin("postgres", "create", "--format", "json", **settings) for _ in range(4)]
            asked = [
                (server, server.send("tools/call", name="create_postgres_instance", arguments={}))
                for server in (first, second, first, second)
            ]
            answers = [server.wait_answer(request)["result"] for server, request in asked]
            assert [text_of(answer) for answer in answers if answer["isError"]] == []
            said = [command.communicate(timeout=60) for command in commands]
            assert [command.returncode for command in commands] == [0] * 4, said
            got = [answer["structuredContent"] for answer in answers] + [json.loads(out) for out, _ in said]
            ids = [one["id"] for one in got]
            assert len(set(ids)) == len({one["port"] for one in got}) == 8
            print(f"{len(before & set(ids))} of {len(before)} spares were claimed by 8 claimants")
            assert before & set(ids)
            check_own_server(realm, [one["dsn"] for one in got])
    assert spares(realm) == set(), "each server has put away its spares"
