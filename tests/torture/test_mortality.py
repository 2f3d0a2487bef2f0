"""The same as in tests/faults: at every moment of every step, and at many more random ones."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.faults import ambushes, mortality
from tests.faults.ambushes import Hunter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.interception import Door
    from tests.faults.realm import Realm

pytestmark = [pytest.mark.docker, pytest.mark.torture, pytest.mark.timeout(1800)]

SEEDS = int(os.environ.get("TORTURE_SEEDS", "200"))
ROUND = 20


@pytest.mark.parametrize("first", range(1000, 1000 + SEEDS, ROUND))
def test_of_killed_servers_commands_and_tests_nothing_is_left(realm: Realm, first: int) -> None:
    mortality.check_killed_processes(realm, range(first, min(first + ROUND, 1000 + SEEDS)))


@pytest.mark.parametrize("first", range(100, 101 + SEEDS // 10, 4))
def test_of_processes_whose_engine_is_killed_under_them_nothing_is_left(realm: Realm, first: int) -> None:
    mortality.check_killed_engine(realm, range(first, first + 4))


@pytest.mark.parametrize(
    "kill_all",
    [
        ambushes.kill_restores,
        ambushes.kill_takes,
        ambushes.kill_branches,
        ambushes.kill_creates,
        ambushes.kill_prepares,
        ambushes.kill_drops,
    ],
)
def test_killed_at_every_moment_of_every_step(
    realm: Realm, door: Door, kill_all: Callable[[Hunter], None]
) -> None:
    kill_all(Hunter(realm, door, thorough=True))
    mortality.check_mortality(realm)
