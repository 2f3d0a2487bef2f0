"""How long a verb may take, and the switch that ends it early.

One object travels from the face to the engine's socket, so that a client that goes away, a signal and a
clock all end a long verb in the same way.
"""

from __future__ import annotations

import threading
import time

from dev_postgres_mcp.errors import Cancelled, DeadlineExceeded


class Deadline:
    """A moment in the future that can be brought forward by `cancel()`.  Thread-safe."""

    def __init__(self, seconds: float) -> None:
        """Start the clock: `seconds` from now."""
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """End it now; whoever waits on it wakes up."""
        self._cancelled.set()

    def remaining(self) -> float:
        """Return the seconds that are left, never negative."""
        return max(0.0, self._end - time.monotonic())

    def check(self, doing: str) -> None:
        """Raise Cancelled or DeadlineExceeded when there is no time left for `doing`."""
        if self._cancelled.is_set():
            raise Cancelled(f"cancelled while {doing}")
        if self.remaining() <= 0:
            raise DeadlineExceeded(
                f"gave up after {self.seconds:g} s while {doing}",
                hint="the engine may be busy or stuck: check `dev-postgres-mcp doctor`, "
                "or raise the setting `create_timeout`",
            )

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than the deadline and not after a cancel."""
        self._cancelled.wait(min(seconds, self.remaining()))

    def part(self, seconds: float) -> Deadline:
        """Return a deadline of at most `seconds` that is cancelled together with this one."""
        shorter = Deadline(min(seconds, self.remaining()))
        shorter._cancelled = self._cancelled
        return shorter
