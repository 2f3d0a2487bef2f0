"""Which instance does a person mean."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import pytest

from dev_postgres_mcp.errors import AmbiguousReference, InstanceNotFound
from dev_postgres_mcp.instances.lookup import find_container
from dev_postgres_mcp.model import Endpoint, Limits
from dev_postgres_mcp.runtimes.base import Container

NAMES = {"aaaabbbbcccc": "shop", "aaaaxxxxyyyy": "aaaab", "bbbbccccdddd": "twin", "ccccddddeeee": "twin"}


def container(instance_id: str, container_id: str) -> Container:
    return Container(
        id=instance_id,
        container_id=container_id,
        endpoint=Endpoint(host="h", port=1),
        state="running",
        created_at=datetime(2026, 11, 1, 10, 0, 0, tzinfo=UTC),
        ready_by=datetime(2026, 11, 1, 10, 0, 0, tzinfo=UTC),
        limits=Limits(memory=1, cpus=1),
    )


CONTAINERS = (
    container("aaaabbbbcccc", "0123" * 16),
    container("aaaaxxxxyyyy", "0199" * 16),
    container("bbbbccccdddd", "aaaabbbbcccc" + "5" * 52),
    container("ccccddddeeee", "7777" * 16),
)


def find(ref: str) -> str:
    return find_container(ref, CONTAINERS, lambda: NAMES).id


@pytest.mark.parametrize(
    "ref, found",
    [
        ("aaaabbbbcccc", "aaaabbbbcccc"),
        ("mcp-postgres-aaaabbbbcccc", "aaaabbbbcccc"),
        ("0123" * 16, "aaaabbbbcccc"),
        ("shop", "aaaabbbbcccc"),
        ("aaaabb", "aaaabbbbcccc"),
        ("aaaax", "aaaaxxxxyyyy"),
        ("0123", "aaaabbbbcccc"),
        ("0199" * 3, "aaaaxxxxyyyy"),
        ("c", "ccccddddeeee"),
    ],
)
def test_an_instance_answers_to_all_its_names(ref: str, found: str) -> None:
    assert find(ref) == found


def test_an_id_beats_the_beginning_of_a_container_id() -> None:
    assert find("aaaabbbbcccc") == "aaaabbbbcccc"


def test_a_display_name_beats_the_beginning_of_an_id() -> None:
    assert find("aaaab") == "aaaaxxxxyyyy"


@pytest.mark.parametrize(
    "ref", ["", "nobody", "AAAABBBBCCCC", "mcp-postgres-", "shop ", "x" * 10_000, "*", "%"]
)
def test_what_nobody_answers_to_is_not_found(ref: str) -> None:
    with pytest.raises(InstanceNotFound, match="no instance answers to") as caught:
        find(ref)
    assert len(caught.value.message) < 120
    assert caught.value.hint


@pytest.mark.parametrize(
    "ref, candidates",
    [
        ("aaaa", ["aaaabbbbcccc (shop", "aaaaxxxxyyyy (aaaab"]),
        ("twin", ["bbbbccccdddd (twin", "ccccddddeeee (twin"]),
        ("01", ["aaaabbbbcccc (shop", "aaaaxxxxyyyy (aaaab"]),
    ],
)
def test_an_ambiguous_reference_lists_the_candidates(ref: str, candidates: list[str]) -> None:
    with pytest.raises(AmbiguousReference, match="could be any of 2 instances") as caught:
        find(ref)
    lines = caught.value.message.splitlines()[1:]
    assert len(lines) == 2
    for line, candidate in zip(lines, candidates, strict=True):
        assert candidate in line
        assert "2026-11-01 10:00:00 UTC" in line
    assert caught.value.hint


def test_a_candidate_without_a_name_says_so() -> None:
    with pytest.raises(AmbiguousReference, match="aaaabbbbcccc \\(no name, "):
        find_container("aaaa", CONTAINERS, dict)


def test_names_are_read_only_when_they_are_needed() -> None:
    def names() -> dict[str, str]:
        raise AssertionError("an id needs no names")

    assert find_container("aaaabbbbcccc", CONTAINERS, names).id == "aaaabbbbcccc"


@pytest.mark.parametrize("ref", ["aaaabbbbcccc", "mcp-postgres-aaaabbbbcccc", "0123" * 16, ""])
def test_an_exact_reference_and_none_at_all_need_no_names(ref: str) -> None:
    def names() -> dict[str, str]:
        raise AssertionError("not needed")

    try:
        assert find_container(ref, CONTAINERS, names).id == "aaaabbbbcccc"
    except InstanceNotFound:
        assert ref == ""


@pytest.mark.parametrize("ref", ["shop", "twin", "aaaa", "aaaabb", "0123", "nobody"])
def test_names_are_asked_for_at_most_once(ref: str) -> None:
    """Each time costs a read of every record."""
    asked: list[str] = []

    def names() -> dict[str, str]:
        asked.append(ref)
        return NAMES

    with suppress(AmbiguousReference, InstanceNotFound):
        find_container(ref, CONTAINERS, names)
    assert asked == [ref]


def test_an_exact_id_beats_the_display_name_of_another() -> None:
    stolen = {"aaaaxxxxyyyy": "aaaabbbbcccc"}
    assert find_container("aaaabbbbcccc", CONTAINERS, lambda: stolen).id == "aaaabbbbcccc"


def test_in_an_empty_engine_nothing_is_found() -> None:
    with pytest.raises(InstanceNotFound):
        find_container("a", (), dict)
