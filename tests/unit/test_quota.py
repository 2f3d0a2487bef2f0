"""How many instances, and how much memory, one engine may carry for us."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dev_postgres_mcp.errors import LimitReached
from dev_postgres_mcp.instances.quota import Quota, instances_of, sum_memory
from dev_postgres_mcp.model import Endpoint, Limits
from dev_postgres_mcp.runtimes.base import Container, Role

MB = 1024**2


def container(number: int, memory: int = 100 * MB) -> Container:
    return Container(
        id=f"id{number}",
        container_id=f"c{number}",
        endpoint=Endpoint(host="h", port=number),
        state="running",
        created_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
        ready_by=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
        limits=Limits(memory=memory, cpus=1),
    )


def test_the_last_place_is_given_and_no_more() -> None:
    quota = Quota(max_instances=3, max_memory=1000 * MB)
    quota.admit(100 * MB, [container(1), container(2)])
    with pytest.raises(LimitReached, match="there are 3 instances already, and max_instances is 3") as caught:
        quota.admit(100 * MB, [container(1), container(2), container(3)])
    assert "drop" in caught.value.hint


def test_the_last_byte_is_given_and_no_more() -> None:
    quota = Quota(max_instances=10, max_memory=300 * MB)
    quota.admit(200 * MB, [container(1)])
    with pytest.raises(LimitReached, match="100 MB of 300 MB are given out") as caught:
        quota.admit(200 * MB + 1, [container(1)])
    assert "max_total_memory" in caught.value.message


@pytest.mark.parametrize("place, kept", [(1, True), (2, True), (3, False), (4, False)])
def test_of_several_that_began_at_once_the_oldest_stay(place: int, kept: bool) -> None:
    quota = Quota(max_instances=2, max_memory=1000 * MB)
    existing = [container(number) for number in (1, 2, 3, 4)]
    if kept:
        quota.keep(f"c{place}", existing)
    else:
        with pytest.raises(LimitReached):
            quota.keep(f"c{place}", existing)


def test_the_youngest_over_the_memory_ceiling_goes() -> None:
    quota = Quota(max_instances=10, max_memory=250 * MB)
    existing = [container(1), container(2), container(3)]
    quota.keep("c2", existing)
    with pytest.raises(LimitReached):
        quota.keep("c3", existing)


def test_what_has_vanished_meanwhile_is_not_judged() -> None:
    quota = Quota(max_instances=1, max_memory=MB)
    quota.keep("gone", [container(1)])
    quota.keep_claimed("gone", [container(1)])


def test_a_claimed_spare_counts_as_the_youngest_whatever_its_age() -> None:
    existing = [container(1), container(2), container(3)]
    Quota(max_instances=3, max_memory=300 * MB).keep_claimed("c1", existing)
    with pytest.raises(LimitReached, match="2 instances"):
        Quota(max_instances=2, max_memory=1000 * MB).keep_claimed("c1", existing)
    with pytest.raises(LimitReached, match="max_total_memory"):
        Quota(max_instances=9, max_memory=250 * MB).keep_claimed("c1", existing)


def test_the_sum_is_of_limits() -> None:
    assert sum_memory([]) == 0
    assert sum_memory([container(1, 5), container(2, 7)]) == 12


def test_only_what_somebody_created_is_counted() -> None:
    everything = [replace(container(number), role=role) for number, role in enumerate(Role)]
    assert [one.role for one in instances_of(everything)] == [Role.INSTANCE]
