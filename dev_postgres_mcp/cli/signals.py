"""Ctrl-C and its kin while something is being made: the first signal cancels, what was begun is undone, then we end."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, TypeVar

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from types import FrameType

T = TypeVar("T")

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_DONE = b"\0"
"""No signal has this number."""

_receivers: list[Callable[[int], None]] = []
"""Of the process, as what it does with a signal is."""


def run_undoable(verb: Callable[[Deadline], T], *, then: Callable[[T], None] = lambda _: None) -> T:
    """Return what the verb returns, after `then` has told of it.

    It runs on a thread, so that no signal tears it away from a call to the engine whose outcome it has to know.
    The first signal decides the exit code, 128 + its number; further ones change nothing.  What was made in spite
    of a signal is told: nothing is left that nobody knows of.
    """
    from concurrent.futures import ThreadPoolExecutor

    deadline = Deadline(inf)
    with _collecting(deadline) as came, ThreadPoolExecutor(1) as pool:
        try:
            result = _wait_for(pool.submit(verb, deadline))
        except Cancelled:
            if came:
                raise SystemExit(128 + came[0]) from None
            raise
        then(result)
        return result


@contextmanager
def passing_signals_to(receive: Callable[[int], None]) -> Iterator[None]:
    """Have signals cancel nothing of ours: a child is told of each, and may only end a query or reread a file."""
    _receivers.append(receive)
    try:
        yield
    finally:
        _receivers.remove(receive)


def ignore_signals() -> None:
    """Let the interpreter end in peace: all is said and done, and a second Ctrl-C would only make it stumble."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _wait_for(future: Future[T]) -> T:
    """Return the result, and hear every signal at once.

    One that comes between the last look and the wait for a lock would not end that wait, and go unheard until
    something else does; it always ends a wait for bytes that the interpreter sends with it.
    """
    import socket

    ears, mouth = socket.socketpair()
    with ears, mouth:
        mouth.setblocking(False)
        previous = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
        try:
            future.add_done_callback(lambda _: mouth.send(_DONE))
            while _DONE not in ears.recv(4096):
                pass
        finally:
            signal.set_wakeup_fd(previous)
    return future.result()


@contextmanager
def _collecting(deadline: Deadline) -> Iterator[list[int]]:
    came: list[int] = []

    def collect(number: int, _: FrameType | None) -> None:
        if _receivers:
            _receivers[-1](number)
            return
        came.append(number)
        deadline.cancel()

    previous = {number: signal.signal(number, collect) for number in _SIGNALS}
    try:
        yield came
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
