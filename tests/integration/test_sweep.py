"""Sweeping on a real engine: what nobody else can remove goes, and everything else stays as it is.

The sweeps here see what stands on base images of their own, and a clock that is hours ahead where something has to
be late.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.instances.init_files import find_init_files
from dev_postgres_mcp.instances.specs import build_branch_spec
from dev_postgres_mcp.instances.sweeping import Sweeper
from dev_postgres_mcp.model import Status
from dev_postgres_mcp.parsing import new_id
from dev_postgres_mcp.runtimes.base import Bootstrap, Kind, Launch, Role
from dev_postgres_mcp.runtimes.docker.container import Place
from dev_postgres_mcp.runtimes.docker.engine import EngineConnection
from dev_postgres_mcp.runtimes.docker.launching import Launcher
from tests.helpers.stages import patience, wait_until
from tests.integration.own import OwnWorld
from tests.integration.queries import dsn_of, value
from tests.integration.shell import LABEL, docker, exists, inspect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dev_postgres_mcp.model import Instance, Leftover
    from tests.helpers.stages import DockerStage

pytestmark = [pytest.mark.docker, pytest.mark.alone]

LATER = timedelta(hours=2)
"""Past every create and every restore, and before the end of every lease."""


@pytest.fixture
def own(stage: DockerStage, tmp_path: Path) -> Iterator[OwnWorld]:
    """A base image, and what stands on it."""
    world = OwnWorld(stage, tmp_path / "disk")
    yield world
    world.close()


def sweep(own: OwnWorld, ahead: timedelta = timedelta(), **options: Any) -> list[tuple[str, str, str]]:
    """Look first, then sweep; both have to tell the same, and looking has to change nothing."""
    sweeper = Sweeper(own.runtime, own.policy, clock=lambda: datetime.now(UTC) + ahead, **options)
    before = see(own)
    looked = sweeper.sweep(dry_run=True)
    assert see(own) == before
    assert sweeper.sweep() == looked
    assert sweeper.sweep() == (), "once is enough"
    return [tell(leftover) for leftover in looked]


def tell(leftover: Leftover) -> tuple[str, str, str]:
    return leftover.kind, leftover.name, leftover.reason


def see(own: OwnWorld) -> tuple[set[tuple[str, str]], dict[str, list[str]]]:
    """Return what there is, as the engine itself tells it."""
    return {(one.container_id, one.state) for one in own.runtime.list()}, own.images()


def make_ours(own: OwnWorld, role: Role, *, verb: str = "create", **changes: str) -> str:
    """Create or run a container with our labels and our name, as one of ours that is from last year."""
    instance_id = new_id()
    labels = {
        "id": instance_id,
        "port": "15432",
        "created-at": "2026-01-01T00:00:00+00:00",
        "ready-by": "2026-01-01T00:01:00+00:00",
        "hard-end": "",
        "version": "17",
        "image": own.base,
        "base": own.base_id,
        "memory": "1048576",
        "cpus": "1.0",
        "maker": own.stage.session,
    }
    marks = {LABEL + key: text for key, text in {**labels, **changes}.items()}
    return docker(
        *(verb, *(["--detach"] if verb == "run" else []), "--name", role.name_for(instance_id)),
        *(part for key, text in marks.items() for part in ("--label", f"{key}={text}")),
        *("--entrypoint", "sleep", own.base, "600"),
    )


# --- containers -----------------------------------------------------------------------------------------


def test_what_never_started_or_has_ended_goes_when_it_is_late(own: OwnWorld) -> None:
    young = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    late = {
        make_ours(own, Role.INSTANCE): "its server never started, or has ended",
        make_ours(own, Role.SPARE): "its server never started, or has ended",
        make_ours(own, Role.PREPARING): "the making of an image was broken off",
        make_ours(own, Role.PREPARING, verb="run"): "the making of an image was broken off",
    }
    exited = make_ours(own, Role.INSTANCE, verb="run")
    docker("kill", exited)
    docker("wait", exited)
    late[exited] = "its server never started, or has ended"
    fresh = [make_ours(own, role, **{"ready-by": young}) for role in (Role.INSTANCE, Role.PREPARING)]
    wanted = {(inspect(one)["Name"].lstrip("/"), reason) for one, reason in late.items()}

    swept = sweep(own)

    assert {(name, reason) for kind, name, reason in swept if kind == "container"} == wanted
    assert not any(exists(one) for one in late)
    assert all(exists(one) for one in fresh)
    assert len(sweep(own, LATER)) == 2
    assert not any(exists(one) for one in fresh)


@pytest.mark.parametrize("state", ["running", "paused"])
def test_what_has_put_off_its_longest_life_goes(own: OwnWorld, state: str) -> None:
    """Who is superuser inside can stop or cheat PID 1, and not the label."""
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    container = make_ours(own, Role.INSTANCE, verb="run", **{"hard-end": past})
    if state == "paused":
        docker("pause", container)
    ((kind, _, reason),) = sweep(own)
    assert (kind, reason) == ("container", "it is beyond its longest life")
    assert not exists(container)


def test_a_paused_instance_goes_when_its_lease_is_over(own: OwnWorld) -> None:
    instance = own.app.manager.create(build_spec(own.app.defaults, ttl="1h"))
    docker("pause", instance.container_id)
    assert sweep(own) == []
    assert exists(instance.container_id)
    assert [reason for _, _, reason in sweep(own, LATER)] == ["it is paused, and its lease is over"]
    assert not exists(instance.container_id)


def test_nothing_of_a_living_lease_is_touched(own: OwnWorld) -> None:
    app = own.app
    instance, paused = (app.manager.create(build_spec(app.defaults, ttl="1d")) for _ in range(2))
    dead = app.manager.create(build_spec(app.defaults, ttl="1d"))
    app.pool.fill(1, deadline=patience())
    snapshot = app.snapshots.take(instance.id, ttl=86_400.0)
    branch = app.snapshots.branch(instance.id, build_branch_spec(app.defaults))
    on_snapshot = app.snapshots.branch(snapshot.name, build_branch_spec(app.defaults))
    docker("pause", paused.container_id)
    own.stage.kill(dead.container_id)
    before = see(own)

    assert sweep(own, timedelta(minutes=5)) == []

    assert see(own) == before
    docker("unpause", paused.container_id)
    assert [value(dsn_of(one), "SELECT 1") for one in (instance, paused, branch, on_snapshot)] == [1] * 4
    assert app.manager.get(dead.id).status is Status.EXITED


# --- restores that were broken off ----------------------------------------------------------------------


def leave_restore(own: OwnWorld, instance: Instance, snapshot: str) -> str:
    """Do what a restore does until both are there, as one whose process was killed at that moment."""
    container = own.app.manager.find(instance.id)
    state = own.runtime.read_state(container)
    stored = next(one for one in own.runtime.images() if one.kind is Kind.SNAPSHOT and one.key == snapshot)
    image = own.runtime.find_image(stored.image.id)
    assert state is not None
    assert image is not None
    launch = Launch(
        record=state.record,
        bootstrap=Bootstrap(database=state.record.database, username=state.record.username),
        image=replace(image, ref=stored.image.ref),
        limits=container.limits,
        maker=own.stage.session,
        role=Role.RESTORING,
        lease=state.lease,
        hard_end=container.hard_end,
    )
    network = inspect(container.container_id)["HostConfig"]["NetworkMode"]
    place = Place(bind_host="127.0.0.1", host="127.0.0.1", port=instance.endpoint.port, network_id=network)
    launcher = Launcher(EngineConnection(own.stage.options.environment), own.runtime.remove)
    with launcher.making(launch, place, deadline=patience()):
        return Role.RESTORING.name_for(instance.id)


@pytest.fixture
def changed(own: OwnWorld) -> tuple[Instance, str]:
    """An instance that has changed since its snapshot, and that one's id."""
    app = own.app
    instance = app.manager.create(build_spec(app.defaults, name="the one", database="shop", ttl="1d"))
    snapshot = app.snapshots.take(instance.id, ttl=86_400.0)
    docker(
        "exec", instance.container_id, "psql", "-U", "postgres", "-d", "shop", "-c", "CREATE TABLE later ()"
    )
    return instance, snapshot.id


IS_LATER = "SELECT count(*) FROM pg_tables WHERE tablename = 'later'"


def test_a_restore_that_ended_before_the_old_one_went_is_undone(
    own: OwnWorld, changed: tuple[Instance, str]
) -> None:
    instance, snapshot = changed
    restoring = leave_restore(own, instance, snapshot)
    assert sweep(own) == [], "it may still go on"
    assert [one.id for one in own.app.manager.list().instances] == [instance.id]

    assert sweep(own, LATER) == [("container", restoring, "a restore was broken off")]

    assert [one.name for one in own.runtime.list()] == [f"mcp-postgres-{instance.id}"]
    assert value(dsn_of(instance), IS_LATER) == 1


def test_a_restore_that_ended_after_the_old_one_went_is_brought_to_its_end(
    own: OwnWorld, changed: tuple[Instance, str]
) -> None:
    instance, snapshot = changed
    restoring = leave_restore(own, instance, snapshot)
    docker("rm", "--force", "--volumes", instance.container_id)
    assert sweep(own) == [], "it may still go on"

    assert sweep(own, LATER) == [("container", restoring, "a restore was broken off")]

    wait_until(lambda: own.app.manager.get(instance.id).status is Status.READY)
    restored = own.app.manager.get(instance.id)
    assert restored.container_id != instance.container_id
    assert replace(restored, container_id="", evidence=None) == replace(
        instance, container_id="", evidence=None
    )
    assert value(dsn_of(instance), IS_LATER) == 0
    assert [one.name for one in own.runtime.list()] == [f"mcp-postgres-{instance.id}"]


# --- images ---------------------------------------------------------------------------------------------


def test_a_snapshot_goes_when_its_time_is_over_and_nobody_stands_on_it(own: OwnWorld) -> None:
    app = own.app
    instance = app.manager.create(build_spec(app.defaults))
    kept = app.snapshots.take(instance.id, "kept", ttl=None)
    used = app.snapshots.take(instance.id, "used", ttl=600.0)
    app.snapshots.take(instance.id, "over", ttl=600.0)
    branch = app.snapshots.branch("used", build_branch_spec(app.defaults))
    assert sweep(own) == []

    assert sweep(own, LATER) == [("snapshot image", "over", "its lease is over")]

    assert [one.id for one in app.snapshots.list()] == [kept.id, used.id]
    app.manager.drop([branch.id])
    assert sweep(own, LATER) == [("snapshot image", "used", "its lease is over")]
    assert [one.id for one in app.snapshots.list()] == [kept.id]
    assert value(dsn_of(instance), "SELECT 1") == 1


def test_the_oldest_snapshots_go_when_all_take_too_much(own: OwnWorld) -> None:
    app = own.app
    instance = app.manager.create(build_spec(app.defaults))
    for name in ("first", "second", "third", "fourth"):
        app.snapshots.take(instance.id, name)
    sizes = [one.size for one in app.snapshots.list()]
    assert min(sizes) > 1024**2
    own.policy = replace(own.policy, max_snapshot_size=sum(sizes))
    assert sweep(own) == []
    on_first = app.snapshots.branch("first", build_branch_spec(app.defaults))
    own.policy = replace(own.policy, max_snapshot_size=sizes[0] + sizes[2] + sizes[3])

    ((kind, name, reason),) = sweep(own)

    assert (kind, name) == ("snapshot image", "second"), "the oldest that nobody stands on"
    assert "max_snapshot_size" in reason
    assert [one.name for one in app.snapshots.list()] == ["first", "third", "fourth"]
    assert value(dsn_of(on_first), "SELECT 1") == 1


def test_a_branchs_image_goes_with_the_last_that_needs_it(own: OwnWorld) -> None:
    """Dropped behind our back, so that nobody has taken the image along."""
    app = own.app
    instance = app.manager.create(build_spec(app.defaults))
    branch = app.snapshots.branch(instance.id, build_branch_spec(app.defaults))
    image = inspect(branch.container_id)["Image"]
    assert sweep(own, timedelta(minutes=5)) == []
    docker("rm", "--force", "--volumes", branch.container_id)
    assert sweep(own) == [], "its branch may still come"

    ((kind, _, reason),) = sweep(own, LATER)

    assert (kind, reason) == ("branch image", "its branch is gone")
    assert image not in own.images()
    assert value(dsn_of(instance), "SELECT 1") == 1


def test_prepared_images_that_nobody_can_use_any_more_go(own: OwnWorld, tmp_path: Path) -> None:
    app = own.app
    init = tmp_path / "one.sql"
    init.write_text("CREATE TABLE t AS SELECT 1 AS n;\n")
    nameless = app.images.prepare(own.base, seed="shop", init=find_init_files(init))
    in_use = app.manager.create(build_spec(app.defaults, seed="shop"))
    newer = app.images.prepare(own.base, seed="shop", init=find_init_files(init))
    assert sweep(own) == [], "an instance stands on the nameless one"
    app.manager.drop([in_use.id])

    ((kind, name, reason),) = sweep(own)

    assert (kind, name, reason) == ("prepared image", "shop", "a newer one has taken its name")
    assert list(own.images()) == [newer.id] != [nameless.id]

    plain = app.images.prepare(own.base)
    own.renew_base()
    fresh = app.images.prepare(own.base)
    ((kind, _, reason),) = sweep(own)
    assert (kind, reason) == ("prepared image", "its base image has changed or is gone")
    assert plain.id not in own.images()
    assert set(own.images()) == {newer.id, fresh.id}, "a seed holds what somebody put into it"


# --- what is not ours -----------------------------------------------------------------------------------


def test_what_only_looks_like_ours_is_never_touched(own: OwnWorld) -> None:
    """Whole sweeps see it no more than this one: it is in no list of containers or images."""
    ours = json.loads(docker("inspect", make_ours(own, Role.INSTANCE)))[0]
    labels = {**ours["Config"]["Labels"], "tests.session": own.stage.session}
    other_id = new_id()
    containers = [
        own.stage.add_foreign(name=f"copy-of-{other_id}", labels=labels),
        own.stage.add_foreign(name=f"mcp-postgres-{other_id}"),
        own.stage.add_foreign(name=f"mcp-postgres-prepare-{other_id}", labels={"dev-postgres-mcp.port": "1"}),
    ]
    api, mark = own.stage.api, {"tests.session": own.stage.session}
    images = [
        api.commit(containers[1], repository=repository, tag=other_id, conf={"Labels": {**mark, **asked}})[
            "Id"
        ]
        for repository, asked in (
            ("dev-postgres-mcp/branch", {}),
            ("dev-postgres-mcp/prepared", {"dev-postgres-mcp.kind": "prepared"}),
            ("somebody/elses", image_labels(own, other_id)),
        )
    ]

    assert [name for _, name, _ in sweep(own, timedelta(days=400))] == [ours["Name"].lstrip("/")]

    listed = {one.container_id for one in own.stage.runtime().list()}
    stored = {one.image.id for one in own.stage.runtime().images()}
    assert not listed & set(containers)
    assert not stored & set(images)
    assert all(exists(container) for container in containers)
    assert all(inspect(image)["RepoTags"] for image in images)
    for container in containers:
        docker("rm", "--volumes", container)
    for image in images:
        docker("image", "rm", image)


def image_labels(own: OwnWorld, key: str) -> dict[str, str]:
    """Return labels as a branch's image has them."""
    labels = {
        "id": "",
        "kind": "branch",
        "key": key,
        "name": f"branch-{key}",
        "source": "x",
        "base": own.base_id,
        "image": own.base,
        "version": "17",
        "created-at": "2026-01-01T00:00:00+00:00",
        "expires-at": "",
        "user": "999:999",
    }
    return {LABEL + name: text for name, text in labels.items()}
