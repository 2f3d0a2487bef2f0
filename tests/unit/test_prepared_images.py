"""Prepared images and seeds, as a person looks after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.errors import EngineUnsupported, ImageNotFound, InitFailed, InvalidInput
from dev_postgres_mcp.instances import build_spec
from tests.helpers.acts import create

if TYPE_CHECKING:
    from pathlib import Path

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import InitFile, PreparedImage, Progress
    from dev_postgres_mcp.runtimes.memory import MemoryWorld


@pytest.fixture
def init(app: App, tmp_path: Path) -> tuple[InitFile, ...]:
    (tmp_path / "a.sql").touch()
    return build_spec(app.defaults, init=tmp_path / "a.sql").init


def names(images: tuple[PreparedImage, ...]) -> list[str]:
    return sorted(f"{image.base} {image.seed}".strip() for image in images)


def test_an_image_is_prepared_ahead_of_time_and_only_once(app: App) -> None:
    told: list[Progress] = []
    made = app.images.prepare("postgres:16", progress=told.append)
    assert (made.base, made.version, made.seed, made.stale, made.users) == (
        "postgres:16",
        "16",
        "",
        False,
        (),
    )
    assert [progress.message for progress in told] == ["preparing postgres:16 once"]
    assert app.images.prepare("postgres:16", progress=told.append) == made
    assert len(told) == 1
    assert app.images.list() == (made,)


def test_an_absent_image_is_pulled_first(app: App) -> None:
    assert app.images.prepare("pgvector/pgvector:pg17").base == "pgvector/pgvector:pg17"
    with pytest.raises(ImageNotFound):
        app.images.prepare("nobody/has-it:17")


def test_who_stands_on_an_image_is_shown(app: App) -> None:
    first, second = create(app), create(app)
    create(app, version="16")
    image = next(one for one in app.images.list() if one.base == "postgres:17")
    assert set(image.users) == {first.id, second.id}


def test_a_seed_is_made_anew_each_time(app: App, init: tuple[InitFile, ...]) -> None:
    first = app.images.prepare("postgres:17", seed="shop", init=init)
    second = app.images.prepare("postgres:17", seed="shop", init=init)
    assert first.id != second.id
    assert [(one.id, one.stale) for one in app.images.list()] == [(first.id, True), (second.id, False)]


def test_a_seed_needs_a_name_and_scripts(app: App, init: tuple[InitFile, ...]) -> None:
    for wrong in ({"seed": "shop"}, {"init": init}):
        with pytest.raises(InvalidInput, match="a seed needs a name and init scripts"):
            app.images.prepare("postgres:17", **wrong)
    assert app.images.list() == ()


def test_a_preparation_that_fails_leaves_nothing(app: App, world: MemoryWorld) -> None:
    world.can_prepare = False
    with pytest.raises(InitFailed):
        app.images.prepare("postgres:17")
    assert app.images.list() == ()


def test_where_images_cannot_be_made_that_is_said(app: App, world: MemoryWorld) -> None:
    world.can_commit = False
    with pytest.raises(EngineUnsupported, match="prepares no images"):
        app.images.prepare("postgres:17")


def test_pruning_removes_what_is_stale_and_nobody_stands_on(
    app: App, world: MemoryWorld, init: tuple[InitFile, ...]
) -> None:
    for version in ("14", "15", "16"):
        app.images.prepare(f"postgres:{version}")
    app.images.prepare("postgres:14", seed="shop", init=init)
    create(app, version="15")
    assert app.images.prune() == ()
    for version in ("14", "15"):
        world.renew_image(f"postgres:{version}")
    assert names(app.images.prune()) == ["postgres:14"]
    assert names(app.images.list()) == ["postgres:14 shop", "postgres:15", "postgres:16"]


def test_pruning_everything_keeps_only_what_is_in_use(app: App, init: tuple[InitFile, ...]) -> None:
    create(app)
    app.images.prepare("postgres:16")
    app.images.prepare("postgres:17", seed="shop", init=init)
    app.snapshots.take(create(app).id, "monday")
    assert names(app.images.prune(everything=True)) == ["postgres:16", "postgres:17 shop"]
    assert names(app.images.list()) == ["postgres:17"]
    assert [one.name for one in app.snapshots.list()] == ["monday"], "a snapshot is no prepared image"
