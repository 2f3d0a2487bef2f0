"""Ceilings on an engine that nobody else uses: creators race, and never more than allowed stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.second_engine import wait_until
from tests.integration.creators import create_in_processes

if TYPE_CHECKING:
    from tests.faults.second_engine import SecondEngine

pytestmark = pytest.mark.docker

MEGABYTE = 1024**2
CEILING = 5
"""The exit code of a create that would pass a ceiling."""


def test_one_more_than_max_instances_is_refused_until_one_is_dropped(engine: SecondEngine) -> None:
    first = engine.ask("create", max_instances=2)
    engine.ask("create", max_instances=2)
    refused = engine.run("postgres", "create", max_instances=2)
    assert refused.returncode == CEILING
    assert "max_instances is 2" in refused.stderr
    assert "drop an instance" in refused.stderr
    engine.ask("drop", first["id"], "--force")
    engine.ask("create", max_instances=2)
    listing = engine.ask("list", max_instances=2)
    assert (listing["count"], listing["max_instances"]) == (2, 2)


def test_memory_is_summed_up_against_its_ceiling(engine: SecondEngine) -> None:
    engine.ask("create", "--memory", "300m", max_total_memory="600m")
    refused = engine.run("postgres", "create", "--memory", "301m", max_total_memory="600m")
    assert refused.returncode == CEILING
    assert "300 MB of 600 MB" in refused.stderr
    engine.ask("create", "--memory", "300m", max_total_memory="600m")
    listing = engine.ask("list", max_total_memory="600m")
    assert listing["memory_bytes"] == listing["max_memory_bytes"] == 600 * MEGABYTE
    ended, stopped = engine.containers()
    engine.end_server(ended)
    assert engine.ask("list")["memory_bytes"] == 600 * MEGABYTE, "what a dead server left is kept"
    engine.docker("stop", stopped)
    wait_until(lambda: engine.containers() == [ended], "the engine removes what has ended")
    assert engine.ask("list")["memory_bytes"] == 300 * MEGABYTE


@pytest.mark.parametrize(
    "ceiling", [{"max_instances": 2}, {"max_total_memory": "1g"}], ids=["instances", "memory"]
)
def test_of_six_that_create_at_once_never_more_than_two_stay(
    engine: SecondEngine, ceiling: dict[str, object]
) -> None:
    settings = {"docker_host": engine.address, "memory": "512m", **ceiling}
    created = create_in_processes(2, 3, settings=settings, prefix=engine.enter())
    working = [one for one in created if one.id]
    print(f"{len(working)} of 6 stay; the others: {sorted({one.text for one in created if one.error})}")
    assert {one.error for one in created if one.error} == {"limit_reached"}
    assert 1 <= len(working) <= 2
    assert {f"mcp-postgres-{one.id}" for one in working} == set(engine.containers())
    assert all(engine.ask("health-check", one.id)["healthy"] for one in working)


def test_drop_all_leaves_nothing_of_ours_and_everything_else(engine: SecondEngine) -> None:
    foreign = engine.docker("create", "--name", "mcp-postgres-foreign", "postgres:17")
    made = {engine.ask("create")["id"] for _ in range(2)}
    broken = engine.ask("create")["id"]
    engine.end_server(f"mcp-postgres-{broken}")
    results = engine.ask("drop", "--all", "--force")["results"]
    assert {result["id"]: result["outcome"] for result in results} == dict.fromkeys(
        {*made, broken}, "dropped"
    )
    assert engine.docker("ps", "--all", "--quiet", "--no-trunc") == foreign
    assert engine.ask("drop", "--all", "--force")["results"] == []
