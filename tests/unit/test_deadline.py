"""One clock and one cancel token for a whole verb."""

from __future__ import annotations

import threading
import time
from math import inf

import pytest

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import Cancelled, DeadlineExceeded


def test_a_deadline_with_time_left_lets_pass() -> None:
    deadline = Deadline(60)
    deadline.check("working")
    assert 59 < deadline.remaining() <= 60


def test_a_deadline_without_time_says_what_took_it() -> None:
    with pytest.raises(
        DeadlineExceeded, match="gave up while starting a container: the 0 s that it may take are over"
    ) as caught:
        Deadline(0).check("starting a container")
    assert "create_timeout" in caught.value.hint
    assert Deadline(-5).remaining() == 0


def test_a_cancelled_deadline_says_so_even_when_it_has_passed() -> None:
    deadline = Deadline(0)
    deadline.cancel()
    with pytest.raises(Cancelled, match="cancelled while pulling"):
        deadline.check("pulling")


@pytest.mark.parametrize("seconds", [60, inf])
def test_a_cancel_wakes_a_sleeper(seconds: float) -> None:
    deadline = Deadline(seconds)
    asleep = threading.Event()

    def sleep() -> None:
        asleep.set()
        deadline.sleep(60)

    sleeper = threading.Thread(target=sleep)
    started = time.monotonic()
    sleeper.start()
    asleep.wait()
    deadline.cancel()
    sleeper.join(timeout=10)
    assert not sleeper.is_alive()
    assert time.monotonic() - started < 10


def test_nobody_sleeps_past_the_deadline() -> None:
    started = time.monotonic()
    Deadline(0.01).sleep(60)
    assert time.monotonic() - started < 10


def test_a_part_is_never_longer_than_the_whole() -> None:
    whole = Deadline(10)
    assert whole.part(5).remaining() <= 5
    assert whole.part(60).remaining() <= 10
    assert whole.part(inf).remaining() <= 10
    assert Deadline(inf).part(inf).remaining() == inf


def test_a_part_is_cancelled_with_the_whole() -> None:
    whole = Deadline(inf)
    part = whole.part(60).part(30)
    whole.cancel()
    with pytest.raises(Cancelled):
        part.check("working")


def test_a_part_that_has_passed_leaves_the_whole_alone() -> None:
    whole = Deadline(60)
    with pytest.raises(DeadlineExceeded):
        whole.part(0).check("pulling")
    whole.check("going on")


def test_what_hangs_on_a_deadline_runs_when_it_is_cancelled_and_only_once() -> None:
    deadline, ran = Deadline(inf), []
    with (
        deadline.on_cancel(lambda: ran.append("outer")),
        deadline.part(60).on_cancel(lambda: ran.append("part")),
    ):
        assert ran == []
        deadline.cancel()
        deadline.cancel()
        assert sorted(ran) == ["outer", "part"]
    assert len(ran) == 2


def test_what_is_hung_on_a_cancelled_deadline_runs_at_once() -> None:
    deadline, ran = Deadline(inf), []
    deadline.cancel()
    with deadline.on_cancel(lambda: ran.append(1)):
        assert ran == [1]
    assert ran == [1]


def test_what_was_taken_off_again_does_not_run() -> None:
    deadline, ran = Deadline(inf), []
    with deadline.on_cancel(lambda: ran.append(1)):
        pass
    deadline.cancel()
    assert ran == []
