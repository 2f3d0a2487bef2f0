"""`kill -9` at random moments, of whoever uses the program and of the engine: afterwards there is nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults import mortality

if TYPE_CHECKING:
    from tests.faults.realm import Realm

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


def test_of_killed_servers_commands_and_tests_nothing_is_left(realm: Realm) -> None:
    mortality.check_killed_processes(realm, range(9))


def test_fifty_instances_of_a_killed_process_end_by_their_short_leases(realm: Realm) -> None:
    mortality.check_short_leases(realm, 50)


def test_of_processes_whose_engine_is_killed_under_them_nothing_is_left(realm: Realm) -> None:
    mortality.check_killed_engine(realm, range(1))
