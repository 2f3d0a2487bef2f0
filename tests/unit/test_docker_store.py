"""Which images are ours, and what an image of ours says of itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from dev_postgres_mcp.model import Limits
from dev_postgres_mcp.runtimes.base import Image, Kind
from dev_postgres_mcp.runtimes.docker import DockerEnvironment, DockerOptions, DockerRuntime
from dev_postgres_mcp.runtimes.docker.store import prepared_key, prepared_ref
from tests.helpers.engines import ScriptedEngine

if TYPE_CHECKING:
    from pathlib import Path

    from dev_postgres_mcp.runtimes.base import StoredImage

OURS = "dev-postgres-mcp/snapshot:k3y"
LABELS = {
    "id": "",
    "kind": "snapshot",
    "name": "monday",
    "key": "k3y",
    "source": "abcdefghjkmn",
    "base": "sha256:base",
    "image": "postgres:17",
    "version": "17",
    "created-at": "2026-11-01T10:00:00+00:00",
    "expires-at": "2026-11-08T10:00:00+00:00",
    "user": "999:998",
    "database": "shop",
    "username": "me",
    "memory": "1024",
    "cpus": "0.5",
    "settings": '{"work_mem": "8MB"}',
}


def summary(labels: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    given = {
        f"dev-postgres-mcp.{key}": value for key, value in (LABELS if labels is None else labels).items()
    }
    return {"Id": "sha256:1", "ParentId": "", "RepoTags": [OURS], "Labels": given, "Size": 5000} | changes


def listed(folder: Path, *summaries: dict[str, Any]) -> tuple[StoredImage, ...]:
    answers = {
        "/images/json": (200, json.dumps(summaries)),
        "/images/sha256:parent/json": (200, json.dumps({"Size": 2000})),
    }
    with ScriptedEngine(answers=answers) as engine:
        environment = DockerEnvironment(home=folder, docker_host=engine.url)
        options = DockerOptions(environment=environment, ports=range(1, 2), state_directory=folder)
        runtime = DockerRuntime(options)
        try:
            return runtime.images()
        finally:
            runtime.close()


def test_a_snapshot_says_all_that_a_branch_needs(tmp_path: Path) -> None:
    (stored,) = listed(tmp_path, summary(ParentId="sha256:parent"))
    assert (stored.kind, stored.name, stored.key) == (Kind.SNAPSHOT, "monday", "k3y")
    assert (stored.source, stored.database, stored.username) == ("abcdefghjkmn", "shop", "me")
    assert stored.created_at == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert stored.expires_at == datetime(2026, 11, 8, 10, tzinfo=UTC)
    assert (stored.limits, stored.settings) == (Limits(memory=1024, cpus=0.5), {"work_mem": "8MB"})
    assert stored.size == 3000, "what it adds to its parent"
    assert (stored.image.id, stored.image.base_id, stored.image.ref) == (
        "sha256:1",
        "sha256:base",
        "postgres:17",
    )
    assert (stored.image.version, stored.image.user, stored.image.prepared) == ("17", "999:998", True)


def test_images_come_oldest_first(tmp_path: Path) -> None:
    later = LABELS | {"created-at": "2026-11-02T10:00:00+00:00"}
    found = listed(tmp_path, summary(later, Id="sha256:2"), summary())
    assert [stored.image.id for stored in found] == ["sha256:1", "sha256:2"]


@pytest.mark.parametrize("end", ["", "2026-11-08T10:00:00"])
def test_an_end_is_none_or_can_be_compared(tmp_path: Path, end: str) -> None:
    (stored,) = listed(tmp_path, summary(LABELS | {"expires-at": end}))
    assert (stored.expires_at is None) == (end == "")
    assert stored.expires_at is None or stored.expires_at.utcoffset() is not None


@pytest.mark.parametrize("tags", [[], None, ["<none>:<none>"]], ids=repr)
def test_an_image_that_has_lost_its_name_has_no_key(tmp_path: Path, tags: list[str] | None) -> None:
    (stored,) = listed(tmp_path, summary(RepoTags=tags))
    assert stored.key == ""


def test_an_image_that_somebody_gave_a_second_name_is_still_ours(tmp_path: Path) -> None:
    (stored,) = listed(tmp_path, summary(RepoTags=["backup:monday", OURS]))
    assert stored.key == "k3y"


@pytest.mark.parametrize(
    "tags", [["backup:monday"], ["dev-postgres-mcp/snapshot:other"], ["dev-postgres-mcp/prepared:k3y"]]
)
def test_what_was_built_on_an_image_of_ours_is_not_ours(tmp_path: Path, tags: list[str]) -> None:
    assert listed(tmp_path, summary(RepoTags=tags)) == ()


@pytest.mark.parametrize("tags", [[], [OURS], ["backup:monday"]])
def test_what_somebody_committed_from_an_instance_is_not_ours(tmp_path: Path, tags: list[str]) -> None:
    """It inherits every label of the container, the instance's id among them."""
    assert listed(tmp_path, summary(LABELS | {"id": "abcdefghjkmn"}, RepoTags=tags)) == ()


@pytest.mark.parametrize(
    "key",
    ["id", "kind", "name", "key", "source", "base", "image", "version", "created-at", "expires-at", "user"],
)
def test_an_image_whose_labels_are_incomplete_is_not_ours(tmp_path: Path, key: str) -> None:
    kept = {name: text for name, text in LABELS.items() if name != key}
    assert listed(tmp_path, summary(kept), summary(Id="sha256:2"))[0].image.id == "sha256:2"


@pytest.mark.parametrize(
    "key, value",
    [
        ("kind", "other"),
        ("created-at", "yesterday"),
        ("created-at", "0001-01-01T00:00:00+14:00"),
        ("expires-at", "x"),
        ("expires-at", "9999-12-31T23:59:59-14:00"),
        ("memory", "x"),
        ("cpus", "x"),
        ("settings", "{"),
        ("settings", "7"),
    ],
)
def test_an_image_whose_labels_are_broken_is_not_ours(tmp_path: Path, key: str, value: str) -> None:
    tags = [f"dev-postgres-mcp/{value}:k3y"] if key == "kind" else [OURS]
    assert listed(tmp_path, summary(LABELS | {key: value}, RepoTags=tags)) == ()


def test_a_parent_that_is_gone_counts_as_nothing(tmp_path: Path) -> None:
    (stored,) = listed(tmp_path, summary(ParentId="sha256:gone"))
    assert stored.size == 5000


def removed(
    folder: Path, tags: list[str] | None, answers: dict[str, tuple[int, str]]
) -> tuple[bool, list[str]]:
    """Return the answer of a removal, and what the engine was asked for in it."""
    image = {"/images/sha256:1/json": (200, json.dumps({"Id": "sha256:1", "RepoTags": tags}))}
    with ScriptedEngine(answers=image | answers) as engine:
        environment = DockerEnvironment(home=folder, docker_host=engine.url)
        options = DockerOptions(environment=environment, ports=range(1, 2), state_directory=folder)
        runtime = DockerRuntime(options)
        try:
            gone = runtime.remove_image("sha256:1")
        finally:
            runtime.close()
        return gone, [path for path in engine.asked if "/images/" in path and "/json" not in path]


def test_an_image_is_removed_by_our_name_for_it_and_keeps_those_of_others(tmp_path: Path) -> None:
    gone, asked = removed(tmp_path, ["backup:monday", OURS], {f"/images/{OURS}": (200, "[]")})
    assert gone
    (path,) = asked
    assert OURS in path


def test_an_image_without_a_name_is_removed_by_its_id(tmp_path: Path) -> None:
    gone, asked = removed(tmp_path, None, {"/images/sha256:1": (200, "[]")})
    assert gone
    assert len(asked) == 1


def test_an_image_that_has_only_names_of_others_stays(tmp_path: Path) -> None:
    assert removed(tmp_path, ["backup:monday"], {}) == (False, [])


def test_an_image_in_use_stays(tmp_path: Path) -> None:
    conflict = (409, json.dumps({"message": "conflict: unable to remove, container is using it"}))
    gone, _ = removed(tmp_path, [OURS], {f"/images/{OURS}": conflict})
    assert not gone


def test_the_name_of_a_prepared_image_follows_from_its_base_and_seed() -> None:
    base, other = Image(ref="postgres:17", id="sha256:1"), Image(ref="postgres:17", id="sha256:2")
    assert prepared_key(base, "") == prepared_key(Image(ref="mirror/postgres:17", id="sha256:1"), "")
    assert len({prepared_key(base, ""), prepared_key(base, "shop"), prepared_key(other, "")}) == 3
    assert prepared_ref(base, "") == f"dev-postgres-mcp/prepared:{prepared_key(base, '')}"
