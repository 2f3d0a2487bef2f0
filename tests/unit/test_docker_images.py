"""Pull progress from an engine's events, and images from its inspections."""

from __future__ import annotations

from typing import Any

import pytest

from dev_postgres_mcp.model import Progress
from dev_postgres_mcp.runtimes.docker.images import Layers, read_image

A, B = "0123456789ab", "ba9876543210"


def event(layer: str, status: str, current: int = 0, total: int = 0) -> dict[str, Any]:
    detail = {"current": current, "total": total} if total else {}
    return {"status": status, "progressDetail": detail, "id": layer}


RECORDED: list[tuple[dict[str, Any], tuple[int, int, int, int] | None]] = [
    ({"status": "Pulling from library/postgres", "id": "17"}, None),
    (event(A, "Pulling fs layer"), (0, 1, 0, 0)),
    (event(B, "Pulling fs layer"), (0, 2, 0, 0)),
    (event(B, "Waiting"), (0, 2, 0, 0)),
    (event(A, "Downloading", 100, 1000), (0, 2, 100, 1000)),
    (event(A, "Downloading", 900, 1000), (0, 2, 900, 1000)),
    (event(B, "Downloading", 50, 500), (0, 2, 950, 1500)),
    (event(A, "Verifying Checksum"), (0, 2, 1050, 1500)),
    (event(A, "Download complete"), (0, 2, 1050, 1500)),
    (event(A, "Extracting", 400, 1000), (0, 2, 1050, 1500)),
    (event(A, "Pull complete"), (1, 2, 1050, 1500)),
    (event(B, "Download complete"), (1, 2, 1500, 1500)),
    (event(B, "Extracting", 500, 500), (1, 2, 1500, 1500)),
    (event(B, "Pull complete"), (2, 2, 1500, 1500)),
    ({"status": "Digest: sha256:abc"}, None),
    ({"status": "Status: Downloaded newer image for postgres:17"}, None),
]
"""As Engine 20.10 to 28 tell of a pull of two layers: layers done, layers, bytes done, bytes."""


def test_progress_follows_what_the_engine_tells() -> None:
    layers = Layers("postgres:17")
    for told, expected in RECORDED:
        news = layers.see(told)
        assert news is (expected is not None), told
        if expected is not None:
            done, count, current, total = expected
            message = f"pulling postgres:17: {done} of {count} layers"
            assert layers.progress() == Progress(message=message, done=current, total=total), told


def test_progress_never_runs_beyond_its_total_nor_backwards() -> None:
    layers = Layers("postgres:17")
    reached = 0
    for told, _ in RECORDED:
        layers.see(told)
        progress = layers.progress()
        assert reached <= progress.done <= progress.total
        reached = progress.done


def test_a_layer_that_is_there_already_is_done() -> None:
    layers = Layers("postgres:17")
    layers.see(event(A, "Already exists"))
    assert layers.progress() == Progress(message="pulling postgres:17: 1 of 1 layers")


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"status": "x"},
        {"id": None, "status": None},
        {"id": "latest", "status": "Pulling from x"},
        {"aux": {"Digest": "x"}},
        {"stream": "x"},
    ],
)
def test_events_that_are_not_of_a_layer_are_no_news(told: dict[str, Any]) -> None:
    layers = Layers("x")
    assert layers.see(told) is False
    assert layers.progress() == Progress(message="pulling x: 0 of 0 layers")


def test_a_download_of_unknown_size_counts_no_total() -> None:
    layers = Layers("x")
    layers.see({"id": A, "status": "Downloading", "progressDetail": {"current": 5, "total": 0}})
    layers.see({"id": A, "status": "Downloading", "progressDetail": None})
    assert layers.progress().total == 0


def test_an_image_tells_its_version_and_volumes() -> None:
    image = read_image(
        "pgvector/pgvector:pg17",
        {
            "Id": "sha256:1",
            "Config": {
                "Env": ["PATH=/bin", "PG_MAJOR=17", "X=a=b"],
                "Volumes": {"/var/lib/postgresql/data": {}, "/b": {}},
            },
        },
    )
    assert (image.ref, image.id, image.version) == ("pgvector/pgvector:pg17", "sha256:1", "17")
    assert image.volumes == ("/b", "/var/lib/postgresql/data")


@pytest.mark.parametrize("config", [{}, None, {"Env": None, "Volumes": None}, {"Env": []}])
def test_an_image_that_says_nothing_has_no_version(config: object) -> None:
    image = read_image("x", {"Id": "sha256:1", "Config": config})
    assert (image.version, image.volumes) == ("", ())
