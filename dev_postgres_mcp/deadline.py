"""How long a verb may take, and the token that ends it early.

One object travels from the face to the engine's socket, so that a client that goes away, a signal and a
clock all end a long verb in the same way.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import Cancelled, DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

UNDO_SECONDS = 5.0
"""Kept back from a verb's time, so that undoing a failed one still fits into it."""


class CancelToken:
    """Cancelled once, by any thread, for all deadlines that share it; runs what was registered with it."""

    def __init__(self) -> None:
        """Nothing is registered yet."""
        self.cancelled = threading.Event()
        self._actions: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """Cancel; a second time does nothing."""
        with self._lock:
            self.cancelled.set()
            actions, self._actions = self._actions, []
        for action in actions:
            action()

    @contextmanager
    def on_cancel(self, action: Callable[[], None]) -> Iterator[None]:
        """Have `action` registered for a while."""
        with self._lock:
            late = self.cancelled.is_set()
            if not late:
                self._actions.append(action)
        if late:
            action()
        try:
            yield
        finally:
            with self._lock:
                if action in self._actions:
                    self._actions.remove(action)


class Deadline:
    """A moment in the future that can be brought forward by `cancel()`.  Thread-safe."""

    def __init__(self, seconds: float, *, reserve: float = 0.0) -> None:
        """Start the clock: `seconds` from now, the last `reserve` of which are for undoing."""
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._reserve = reserve
        self._token = CancelToken()

    def cancel(self) -> None:
        """End it now; whoever waits on it wakes up."""
        self._token.cancel()

    def on_cancel(self, action: Callable[[], None]) -> AbstractContextManager[None]:
        """Run `action` on the canceller's thread when it is cancelled within this block, at once if it is already."""
        return self._token.on_cancel(action)

    @property
    def cancelled(self) -> bool:
        """Tell whether somebody has cancelled it."""
        return self._token.cancelled.is_set()

    def remaining(self) -> float:
        """Return the seconds that are left, never negative."""
        return max(0.0, self._end - self._reserve - time.monotonic())

    def check(self, doing: str) -> None:
        """Raise Cancelled or DeadlineExceeded when there is no time left for `doing`."""
        if self._token.cancelled.is_set():
            raise Cancelled(f"cancelled while {doing}")
        if self.remaining() <= 0:
            raise DeadlineExceeded(
                f"gave up while {doing}: the {self.seconds:g} s that it may take are over",
                hint="the engine may be busy or stuck: check `dev-postgres-mcp doctor`, "
                "or raise the setting `create_timeout` or `pull_timeout`",
            )

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than the deadline and not after a cancel."""
        self._token.cancelled.wait(min(seconds, self.remaining()))

    def part(self, seconds: float, *, undoable: bool = False) -> Deadline:
        """Return a deadline of at most `seconds` that is cancelled together with this one.

        When `undoable`, a part of it is kept back for `undoing()`.
        """
        seconds = min(seconds, self.remaining())
        shorter = Deadline(seconds, reserve=min(UNDO_SECONDS, seconds / 2) if undoable else 0.0)
        shorter._token = self._token
        return shorter

    def undoing(self) -> Deadline:
        """Return the time that is left for undoing, which no cancel cuts short: at least a second."""
        return Deadline(max(1.0, min(UNDO_SECONDS, self._end - time.monotonic())))
