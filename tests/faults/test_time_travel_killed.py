"""`kill -9` at each step of a verb: nothing of the source is lost, and what is left goes by itself or in a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults import ambushes, mortality
from tests.faults.ambushes import Hunter
from tests.faults.interception import Door

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.realm import Realm

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture
def hunter(realm: Realm, tmp_path: Path) -> Iterator[Hunter]:
    """Somebody who lies in wait on the way to the engine."""
    door = Door(realm.engine.address, tmp_path / "door")
    yield Hunter(realm, door)
    door.close()


def test_a_killed_restore_leaves_the_old_one_or_a_sweep_brings_up_the_new_one(hunter: Hunter) -> None:
    ambushes.kill_restores(hunter)


def test_a_killed_take_leaves_the_source_going_on_and_the_snapshot_whole_or_none(hunter: Hunter) -> None:
    ambushes.kill_takes(hunter)
    mortality.check_mortality(hunter.realm)


def test_what_killed_branches_creates_claims_and_drops_leave_ends(hunter: Hunter) -> None:
    neighbours = mortality.settle(hunter.realm, 1)
    ambushes.kill_branches(hunter)
    ambushes.kill_creates(hunter)
    ambushes.kill_claims(hunter)
    ambushes.kill_drops(hunter)
    mortality.check_mortality(hunter.realm, *neighbours)


def test_of_killed_preparations_no_half_made_image_is_found(hunter: Hunter) -> None:
    ambushes.kill_prepares(hunter)
    mortality.check_mortality(hunter.realm)


def test_of_several_restores_at_once_one_works_and_none_takes_the_instance_away(realm: Realm) -> None:
    for snapshot in ("first", "second", "third"):
        source = realm.create()
        realm.mark(source, "before")
        realm.take(source, snapshot)
        realm.mark(source, "after")
        command = ("postgres", "restore", source.id, snapshot)
        children = [realm.engine.begin(*command) for _ in range(3)]
        said = [child.communicate(timeout=60)[1] for child in children]
        assert [child.returncode for child in children].count(0) >= 1, said
        realm.check_untouched(source, "before")
    realm.sweep()
    assert len(realm.engine.containers()) == 3
