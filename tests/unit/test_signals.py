"""The first signal cancels and decides the exit code; what is being undone hears nothing of further ones."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.cli.signals import passing_signals_to, run_undoable
from dev_postgres_mcp.errors import Cancelled, InvalidInput

if TYPE_CHECKING:
    from dev_postgres_mcp.deadline import Deadline

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: no such signals there")

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP] if sys.platform != "win32" else []


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def wait_cancelled(deadline: Deadline) -> None:
    while True:
        deadline.check("waiting")
        deadline.sleep(10)


def test_without_a_signal_it_returns_what_the_verb_returns_on_another_thread() -> None:
    assert run_undoable(lambda _: threading.current_thread()) is not threading.main_thread()


def test_an_error_of_the_verb_is_an_error_of_the_command() -> None:
    def refuse(_: Deadline) -> None:
        raise InvalidInput("no")

    with pytest.raises(InvalidInput):
        run_undoable(refuse)


def test_a_cancel_without_a_signal_stays_one() -> None:
    def cancel(deadline: Deadline) -> None:
        deadline.cancel()
        deadline.check("waiting")

    with pytest.raises(Cancelled):
        run_undoable(cancel)


@pytest.mark.parametrize("first", SIGNALS)
@pytest.mark.parametrize("second", SIGNALS)
def test_the_first_signal_decides_and_the_undoing_is_not_disturbed(first: int, second: int) -> None:
    undone: list[str] = []

    def verb(deadline: Deadline) -> None:
        send(first)
        try:
            wait_cancelled(deadline)
        finally:
            for _ in range(3):
                send(second)
                time.sleep(0.01)
            undone.append("whole")

    with pytest.raises(SystemExit) as caught:
        run_undoable(verb)
    assert caught.value.code == 128 + first
    assert undone == ["whole"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_verb_that_was_done_when_the_signal_came_counts_as_done(number: int) -> None:
    def verb(deadline: Deadline) -> str:
        send(number)
        deadline.sleep(10)
        return "made"

    assert run_undoable(verb) == "made"


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_a_childs_to_answer_while_there_is_one_and_no_longer(number: int) -> None:
    received: SimpleQueue[int] = SimpleQueue()

    def verb(deadline: Deadline) -> None:
        with passing_signals_to(received.put):
            for _ in range(1000):  # one in a hundred and fifty comes while nobody looks
                send(number)
                assert received.get(timeout=10) == number
            assert not deadline.cancelled
        send(number)
        wait_cancelled(deadline)

    with pytest.raises(SystemExit) as caught:
        run_undoable(verb)
    assert caught.value.code == 128 + number


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_are_handled_as_before_when_it_is_over(number: int) -> None:
    before = signal.getsignal(number)
    run_undoable(lambda _: None)
    assert signal.getsignal(number) is before
