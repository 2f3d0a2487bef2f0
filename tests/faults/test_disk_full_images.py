"""An engine whose disk fills up while an image is made: a clear word, nothing half-made, and the source goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.second_engine import wait_until
from tests.integration.queries import dsn_of

if TYPE_CHECKING:
    import subprocess

    from tests.faults.realm import Realm

pytestmark = pytest.mark.docker

MEGABYTE = 1024**2
NEEDED = ("dev-postgres-mcp/prepared", "postgres")


def check_told(done: subprocess.CompletedProcess[str]) -> None:
    """Judge that a command has failed for want of room, and said so."""
    told = done.stderr.lower()
    assert done.returncode != 0
    assert done.stdout == ""
    assert "no space left on device" in told or "disk is most likely full" in told, told
    assert "hint: " in told


@pytest.mark.parametrize("room", [0, 20, 41])
def test_an_image_that_cannot_be_prepared_is_not_there_and_a_create_goes_its_own_way(
    realm: Realm, room: int
) -> None:
    """With 20 MB the cluster has no room, with 41 its copy has none."""
    engine = realm.engine
    engine.fill_disk(leave=room * MEGABYTE)
    prepared = engine.run("image", "prepare")
    check_told(prepared)
    assert engine.our_images() == []
    created = engine.run("postgres", "create")
    print(f"{room} MB free: {prepared.stderr}then {created.returncode}: {created.stderr}")
    if created.returncode == 0:
        assert "going on without a prepared image" in created.stderr
    else:
        check_told(created)
    engine.run("postgres", "drop", "--all", "--force")
    engine.free_disk()
    realm.sweep()
    assert not realm.find_others()
    assert not realm.find_images("postgres")


@pytest.mark.parametrize("verb, room", [("take", 0), ("take", 5), ("branch", 5)])
def test_what_cannot_be_frozen_leaves_the_source_as_it_was(realm: Realm, verb: str, room: int) -> None:
    """The table alone takes 65 MB of the commit."""
    engine, source = realm.engine, realm.create()
    realm.mark(source, "kept")
    realm.run(dsn_of(source), "CREATE TABLE much AS SELECT md5(i::text) FROM generate_series(1, 1000000) i")
    # A server without room for its log crashes, and commits are asynchronous.
    realm.run(dsn_of(source), "CHECKPOINT")
    engine.fill_disk(leave=room * MEGABYTE)
    commands = {"take": ("snapshot", "take", source.id, "half"), "branch": ("branch", source.id)}
    done = engine.run("postgres", *commands[verb])
    print(f"{room} MB free: {done.stderr}")
    check_told(done)
    engine.free_disk()
    wait_until(lambda: realm.answers(source), "the source goes on, perhaps after a recovery")
    realm.check_untouched(source, "kept")
    assert realm.rows(dsn_of(source), "SELECT count(*) FROM much") == [(1_000_000,)]
    realm.sweep()
    assert not realm.find_others(source)
    assert not realm.find_images(*NEEDED)
    assert engine.run("postgres", *commands[verb]).returncode == 0
