"""However a process is told to end, it ends at once and leaves nothing half made."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from contextlib import suppress
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.wire import LEGACY, RawSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.program import Program

pytestmark = [
    pytest.mark.wheel,
    pytest.mark.usefixtures("unmeasured"),
    pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: no such signals there"),
]

IDLE_SECONDS = 1.0
REMOVAL_SECONDS = 2.0
"""In mid-create the process waits for the engine to remove a container: 0.2 s by itself, up to 2 s on a
machine whose disk is busy with the other tests."""
SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")
ENDS = ("EOF", *SIGNALS)
SEEDS = range(3)
TWICE = int(os.environ.get("TORTURE_SEEDS", "8"))
CREATE_SECONDS = 1.2
"""Seeded moments lie within this time of a create's first step: about as long as it takes."""


def end(session: RawSession, how: str) -> tuple[int, float]:
    """End the server, print how long that took, and return its exit code and the seconds."""
    if how == "EOF":
        session.end_input()
    else:
        session.process.send_signal(signal.Signals[how])
    code, seconds = session.wait_end()
    print(f"{how}: exit code {code} after {seconds:.3f} s")
    return code, seconds


def expected_code(how: str) -> int:
    return 0 if how == "EOF" else 128 + signal.Signals[how]


@pytest.mark.alone
@pytest.mark.parametrize("how", ENDS)
def test_an_idle_server_ends_within_a_second(offline: Program, how: str) -> None:
    with RawSession(offline) as session:
        code, seconds = end(session, how)
    assert code == expected_code(how)
    assert seconds <= IDLE_SECONDS
    assert "Traceback" not in session.said


@pytest.mark.docker
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("how", ENDS)
def test_a_server_that_ends_in_mid_create_leaves_nothing(
    program: Program, left: Callable[[], list[str]], how: str, seed: int
) -> None:
    moment = random.Random(f"{how} {seed}").uniform(0, CREATE_SECONDS)
    with RawSession(program, era=LEGACY[-1]) as session:
        request = session.send("tools/call", name="create_postgres_instance", arguments={})
        session.wait_progress(request, "starting")
        time.sleep(moment)  # the moment itself is what is tested
        code, seconds = end(session, how)
    assert code == expected_code(how)
    assert seconds <= IDLE_SECONDS + REMOVAL_SECONDS
    assert "Traceback" not in session.said
    # A create that was answered before the end is the client's to drop.
    answers = [message.get("result", {}) for message in session.messages() if message.get("id") == request]
    assert len(left()) == sum(answer.get("isError") is False for answer in answers)


@pytest.mark.docker
def test_a_second_signal_does_not_stop_the_undoing(program: Program, left: Callable[[], list[str]]) -> None:
    with RawSession(program) as session:
        request = session.send("tools/call", name="create_postgres_instance", arguments={})
        session.wait_progress(request, "waiting")
        session.process.send_signal(signal.SIGINT)
        session.process.send_signal(signal.SIGTERM)
        code, _ = end(session, "EOF")
    assert code in {expected_code("SIGINT"), expected_code("SIGTERM"), 0}
    assert left() == []


@pytest.mark.docker
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("how", SIGNALS)
def test_a_create_from_the_shell_that_is_ended_leaves_nothing(
    program: Program, left: Callable[[], list[str]], how: str, seed: int
) -> None:
    moment = random.Random(f"{how} {seed}").uniform(0, CREATE_SECONDS)
    with program.start("postgres", "create") as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("starting")
        with suppress(TimeoutExpired):
            process.wait(moment)
        process.send_signal(signal.Signals[how])
        start = time.perf_counter()
        data, talk = process.communicate()
        print(
            f"{how} after {moment:.2f} s: exit code {process.returncode} in {time.perf_counter() - start:.3f} s"
        )
    assert "Traceback" not in talk
    check_outcome(process.returncode, data, left, how)


@pytest.mark.docker
@pytest.mark.parametrize("seed", range(TWICE))
def test_a_create_from_the_shell_that_is_ended_twice_at_once_leaves_nothing(
    program: Program, left: Callable[[], list[str]], seed: int
) -> None:
    """As a closing terminal and a supervisor do; the first signal that arrives decides."""
    chance = random.Random(f"twice {seed}")
    moment, gap = chance.uniform(0, CREATE_SECONDS), chance.uniform(0, 0.005)
    hows = chance.sample(SIGNALS, 2)
    with program.start("postgres", "create") as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("starting")
        with suppress(TimeoutExpired):
            process.wait(moment)
        for how in hows:
            process.send_signal(signal.Signals[how])
            time.sleep(gap)  # the gap itself is what is tested
        data, talk = process.communicate()
        print(f"{hows} after {moment:.2f} s, {gap * 1000:.1f} ms apart: exit code {process.returncode}")
    assert "Traceback" not in talk
    check_outcome(process.returncode, data, left, *hows)


def check_outcome(code: int, data: str, left: Callable[[], list[str]], *hows: str) -> None:
    """What is there has been told, and what has not been told is not there."""
    assert len(left()) == bool(data)
    ends = {expected_code(how) for how in hows}
    if data:  # done before the signal came, which may still have met the interpreter on its way out
        assert code in {0, *ends, *(-signal.Signals[how] for how in hows)}
    else:
        assert code in ends
