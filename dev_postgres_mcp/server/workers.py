"""Verbs on worker threads.  A call that is cancelled cancels its verb; the process ends when all are undone."""

from __future__ import annotations

import threading
import time
from math import inf
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from mcp.server.mcpserver.exceptions import ToolError

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import Cancelled, DevPostgresError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server.mcpserver import Context

    from dev_postgres_mcp.model import Progress

T = TypeVar("T")

MAX_THREADS = 32
_PROGRESS_SECONDS = 0.2


class Workers:
    """Runs verbs beside the event loop and knows which ones still run.  Thread-safe."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self._running: set[Deadline] = set()
        self._draining = False
        self._changed = threading.Condition()
        self._limiter = anyio.CapacityLimiter(MAX_THREADS)

    async def run(self, verb: Callable[[Deadline], T], *, undoable: bool = False) -> T:
        """Return what the verb returns; its errors become ToolError.

        When the call is cancelled, so is the verb's deadline; the thread of an `undoable` one goes on to undo what
        it began, and the process waits for that.
        """
        deadline = Deadline(inf)
        try:
            return await anyio.to_thread.run_sync(
                self._guard, verb, deadline, undoable, abandon_on_cancel=True, limiter=self._limiter
            )
        except anyio.get_cancelled_exc_class():
            deadline.cancel()
            raise
        except DevPostgresError as exc:
            raise ToolError(exc.explain()) from None

    def drain(self, seconds: float) -> bool:
        """Refuse new verbs, cancel the running ones and wait for those that have something to undo.

        Returns False when some still run after `seconds`.
        """
        with self._changed:
            self._draining = True
            running = tuple(self._running)
        for deadline in running:
            deadline.cancel()
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, timeout=seconds)

    def _guard(self, verb: Callable[[Deadline], T], deadline: Deadline, undoable: bool) -> T:  # noqa: FBT001
        with self._changed:
            if self._draining:
                raise Cancelled("the server is ending")
            if undoable:
                self._running.add(deadline)
        try:
            return verb(deadline)
        finally:
            with self._changed:
                self._running.discard(deadline)
                self._changed.notify_all()


class ProgressReporter:
    """Carries a verb's progress from its thread to the client: ever increasing, a few times a second."""

    def __init__(self, context: Context[None]) -> None:
        """Report to the caller of `context`; without a progress token that does nothing."""
        self._context = context
        self._value = 0.0
        self._next = 0.0
        self._message = ""

    def __call__(self, progress: Progress) -> None:
        """Report one step; steps of the same kind that come too fast are dropped."""
        now = time.monotonic()
        kind = progress.message.partition(":")[0]
        if kind == self._message and now < self._next:
            return
        self._message, self._next = kind, now + _PROGRESS_SECONDS
        self._value = max(self._value + 1, float(progress.done))
        total = float(progress.total) if progress.total > self._value else None
        anyio.from_thread.run(self._context.report_progress, self._value, total, progress.message)
