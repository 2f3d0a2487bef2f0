"""The wire: every field said, no secret where none belongs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.model import Drop, Leftover, Outcome, Owner, Secret, Status
from dev_postgres_mcp.views.base import View
from dev_postgres_mcp.views.instances import (
    InstanceView,
    ListedInstanceView,
    StatusText,
    view_drops,
    view_findings,
    view_health,
    view_instance,
    view_list,
)
from dev_postgres_mcp.views.snapshots import view_snapshot, view_snapshots
from dev_postgres_mcp.views.upkeep import view_pool, view_prepared, view_sweep
from tests.helpers.acts import branch
from tests.helpers.stages import patience

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance
    from dev_postgres_mcp.runtimes.memory import MemoryWorld

WORD = "hunter2-nobody-may-see-this/%"
KEYS = {
    "id",
    "name",
    "container_id",
    "runtime",
    "host",
    "port",
    "database",
    "username",
    "version",
    "dsn",
    "created_at",
    "expires_at",
    "idle_timeout",
    "status",
    "owner",
    "labels",
    "hint",
}


@pytest.fixture
def instance(app: App) -> Instance:
    return app.manager.create(
        build_spec(
            app.defaults,
            name="shop",
            database="a b",
            password=Secret(WORD),
            labels={"k": "v"},
            idle_timeout="10m",
        )
    )


def models(base: type[View] = View) -> list[type[BaseModel]]:
    return [base, *(model for heir in base.__subclasses__() for model in models(heir))]


def test_every_field_is_described_in_a_sentence() -> None:
    assert len(models()) >= 28
    for model in models():
        assert model.__doc__
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            assert field.description.endswith("."), f"{model.__name__}.{name}"


def test_views_are_frozen_and_strict_about_their_fields(instance: Instance) -> None:
    view = view_instance(instance)
    with pytest.raises(ValidationError):
        view.name = "other"  # type: ignore[misc]  # the point of the test
    with pytest.raises(ValidationError):
        InstanceView.model_validate(view.model_dump() | {"more": 1})


def test_the_shape_is_the_one_of_the_design(instance: Instance) -> None:
    assert set(ListedInstanceView.model_fields) == KEYS
    assert set(InstanceView.model_fields) == KEYS | {"password"}
    assert set(get_args(StatusText)) == {status.value for status in Status}


def test_an_instance_goes_out_with_its_password(instance: Instance) -> None:
    view = view_instance(instance)
    assert instance.conninfo is not None
    assert (view.password, view.dsn) == (WORD, instance.conninfo.dsn())
    assert (view.name, view.database, view.username, view.labels) == ("shop", "a b", "postgres", {"k": "v"})
    assert (view.status, view.runtime, view.host, view.version) == ("ready", "memory", "127.0.0.1", "17")
    assert (view.expires_at, view.idle_timeout) == (instance.lease.expires_at, 600)
    assert view.expires_at is not None
    assert view.hint is None


def test_a_list_has_no_password_and_a_redacted_dsn(app: App, instance: Instance) -> None:
    view = view_list(app.manager.list())
    text = view.model_dump_json()
    (listed,) = json.loads(text)["instances"]
    assert "password" not in listed
    assert listed["dsn"] == f"postgresql://postgres:***@127.0.0.1:{instance.endpoint.port}/a%20b"
    for secret in (WORD, "hunter2"):
        assert secret not in text
    assert (view.count, view.max_instances) == (1, 10_000)
    assert view.memory_bytes == 512 * 1024**2


def test_health_shows_no_secret_alive_or_dead(app: App, instance: Instance, world: MemoryWorld) -> None:
    alive = view_health(app.manager.health_check(instance.id))
    assert alive.healthy
    assert (alive.server_version, alive.connections, alive.max_connections) == ("17.0", 1, 200)
    world.kill(instance.container_id, exit_code=137, oom_killed=True)
    dead = view_health(app.manager.health_check(instance.id))
    assert (dead.healthy, dead.status, dead.exit_code, dead.oom_killed) == (False, "exited", 137, True)
    assert dead.log_tail
    assert dead.hint
    assert dead.latency_seconds is None
    for view in (alive, dead):
        assert "hunter2" not in view.model_dump_json()


def test_an_instance_whose_record_cannot_be_read_still_has_a_view(instance: Instance) -> None:
    view = view_instance(replace(instance, conninfo=None, name="", status=Status.STARTING, hint="wait"))
    assert (view.dsn, view.password, view.database, view.username) == (None, None, None, None)
    assert (view.status, view.hint) == ("starting", "wait")


def test_a_drop_says_what_became_of_each_reference() -> None:
    view = view_drops(
        (
            Drop(ref="shop", id="abc", outcome=Outcome.DROPPED),
            Drop(ref="x", id="", outcome=Outcome.ALREADY_GONE),
        )
    )
    assert json.loads(view.model_dump_json()) == {
        "results": [
            {"ref": "shop", "id": "abc", "outcome": "dropped"},
            {"ref": "x", "id": None, "outcome": "already_gone"},
        ]
    }


def test_a_snapshot_goes_out_with_the_branches_on_it(app: App, instance: Instance) -> None:
    taken = app.snapshots.take(instance.id, "monday", ttl=3600.0)
    one = branch(app, "monday")
    view = view_snapshots(app.snapshots.list())
    (shown,) = view.snapshots
    assert (shown.id, shown.name, shown.source) == (taken.id, "monday", instance.id)
    assert (shown.branches, shown.restored, shown.expires_at) == ([one.id], [], taken.expires_at)
    assert view.size_bytes == shown.size_bytes == taken.size > 0


def test_the_pool_and_images_and_sweeps_go_out_whole(app: App) -> None:
    assert view_pool(app.pool.status()).reason == app.pool.status().reason != ""
    (spare,) = app.pool.fill(1, deadline=patience()).spares
    assert view_pool(app.pool.status()).reason is None
    (shown,) = view_pool(app.pool.status()).spares
    assert (shown.id, shown.port, shown.maker) == (spare.id, spare.port, spare.maker)
    (prepared,) = view_prepared(app.images.list()).images
    assert (prepared.base, prepared.seed, prepared.users, prepared.stale) == (
        "postgres:17",
        None,
        [spare.id],
        False,
    )
    leftovers = (Leftover(kind="container", name="mcp-postgres-x", reason="why"),)
    swept = view_sweep(leftovers, dry_run=True)
    assert swept.model_dump() == {
        "dry_run": True,
        "leftovers": [{"kind": "container", "name": "mcp-postgres-x", "reason": "why"}],
    }


def test_views_survive_json(app: App, instance: Instance) -> None:
    app.pool.fill(1, deadline=patience())
    made: list[BaseModel] = [
        view_snapshot(app.snapshots.take(instance.id)),
        view_snapshots(app.snapshots.list()),
        view_pool(app.pool.status()),
        view_prepared(app.images.list()),
        view_sweep(app.sweeper.sweep(), dry_run=False),
        view_instance(instance),
        view_list(app.manager.list()),
        view_health(app.manager.health_check(instance.id)),
        view_drops(app.manager.drop([instance.id])),
        view_findings(app.diagnose()),
    ]
    for view in made:
        assert type(view).model_validate_json(view.model_dump_json()) == view


def test_times_are_iso_8601_in_utc(instance: Instance) -> None:
    moment = datetime(2026, 11, 1, 10, 0, 0, tzinfo=UTC)
    shown: dict[str, Any] = json.loads(view_instance(replace(instance, created_at=moment)).model_dump_json())
    assert shown["created_at"] == "2026-11-01T10:00:00Z"


def test_an_owner_goes_out_whole(instance: Instance) -> None:
    owner = Owner(session="s", user="u", cwd="c", process="p")
    assert view_instance(replace(instance, owner=owner)).owner.model_dump() == {
        "session": "s",
        "user": "u",
        "cwd": "c",
        "process": "p",
    }
