"""An engine whose disk is full: a create says so and leaves nothing, and works again when there is room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.second_engine import SecondEngine

pytestmark = pytest.mark.docker

MEGABYTE = 1024**2


@pytest.mark.parametrize(
    "prepared, room",
    [(False, 0), (False, MEGABYTE), (False, 20 * MEGABYTE), (True, 0), (True, MEGABYTE)],
    ids=lambda value: ("prepared" if value else "plain") if isinstance(value, bool) else f"{value} bytes",
)
def test_a_create_on_a_full_disk_says_so_and_leaves_nothing(
    engine: SecondEngine, prepared: bool, room: int
) -> None:
    """Without room the engine refuses; with a little, the server itself runs out of it."""
    if prepared:
        engine.ask("drop", engine.ask("create")["id"], "--force")
    else:
        engine.forget_images()
    images = engine.our_images()
    engine.fill_disk(leave=room)
    done = engine.run("postgres", "create", create_timeout=20)
    print(f"{room // MEGABYTE} MB free: {done.stderr}")
    assert done.returncode in {1, 7}
    assert done.stdout == ""
    told = done.stderr.lower()
    # Now and then the engine itself knows only that the first directory of the layer is not there.
    assert "no space left on device" in told or ("overlay2/" in told and "disk is most likely full" in told)
    assert "hint: " in done.stderr
    assert engine.containers() == []
    assert engine.our_images() == images
    engine.free_disk()
    instance = engine.ask("create")
    assert engine.ask("health-check", instance["id"])["healthy"]


def test_a_prepared_image_saves_the_room_of_a_cluster(engine: SecondEngine) -> None:
    """A plain one takes about 40 MB before the first login; here only what is written to is copied."""
    engine.ask("drop", engine.ask("create")["id"], "--force")
    engine.fill_disk(leave=32 * MEGABYTE)
    assert engine.ask("health-check", engine.ask("create")["id"])["healthy"]


def test_a_disk_that_fills_up_later_is_told_by_health_check(engine: SecondEngine) -> None:
    instance = engine.ask("create")
    engine.fill_disk()
    engine.docker(
        *("exec", instance["container_id"], "psql", "--username=postgres"),
        *("--command=CREATE TABLE t AS SELECT md5(i::text) FROM generate_series(1, 3000000) i"),
        check=False,
    )
    assert [seen["id"] for seen in engine.listed()] == [instance["id"]]
    assert engine.ask("drop", instance["id"], "--force")["results"][0]["outcome"] == "dropped"
    assert engine.containers() == []
