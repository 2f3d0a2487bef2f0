"""One port, one creator: within a process, whatever the threads do."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev_postgres_mcp.errors import LimitReached, PortsExhausted
from dev_postgres_mcp.runtimes.ports import PortRange
from tests.helpers.stages import run_together


@given(
    st.integers(1, 40).flatmap(lambda size: st.tuples(st.just(size), st.sets(st.integers(100, 99 + size))))
)
def test_all_ports_that_are_not_taken_can_be_held_at_once(case: tuple[int, set[int]]) -> None:
    size, taken = case
    ports = PortRange(range(100, 100 + size))
    free = set(range(100, 100 + size)) - taken
    with ExitStack() as held:
        got = [held.enter_context(ports.claim(taken=taken)) for _ in free]
        assert sorted(got) == sorted(free)
        with pytest.raises(PortsExhausted, match=f"every port of 100-{99 + size} is taken"):
            held.enter_context(ports.claim(taken=taken))


@given(st.integers(2, 12), st.integers(1, 12))
def test_threads_never_hold_the_same_port(threads: int, size: int) -> None:
    ports = PortRange(range(100, 100 + size))
    held: set[int] = set()
    lock = threading.Lock()
    shared: list[int] = []

    def claim_often() -> None:
        for _ in range(10):
            with ports.claim(taken=()) as port:
                with lock:
                    if port in held:
                        shared.append(port)
                    held.add(port)
                with lock:
                    held.discard(port)

    raised = run_together(*[claim_often] * threads)
    assert all(isinstance(error, PortsExhausted) for error in raised)
    assert shared == []


def test_a_port_is_free_again_after_its_creator_failed() -> None:
    ports = PortRange(range(100, 101))
    with pytest.raises(RuntimeError), ports.claim(taken=()):
        raise RuntimeError
    with ports.claim(taken=()) as port:
        assert port == 100


def test_a_full_range_is_a_ceiling_that_says_how_to_raise_it() -> None:
    ports = PortRange(range(100, 103))
    with (
        pytest.raises(LimitReached, match="every port of 100-102 is taken") as caught,
        ports.claim(taken=range(200)),
    ):
        pass
    assert "`ports`" in caught.value.hint


def test_creators_begin_at_different_ports() -> None:
    ports = PortRange(range(15432, 25433))
    drawn = set()
    for _ in range(20):
        with ports.claim(taken=()) as port:
            drawn.add(port)
    assert len(drawn) > 10
