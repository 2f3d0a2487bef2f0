"""A second session that looks at what the first one has locked, and ends it when its client has left it.

It looks from outside, so that no timeout, role or search path of the script reaches it, and no look of it can
spoil the script's transaction.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from math import inf
from typing import TYPE_CHECKING, Any

import psycopg

from dev_postgres_mcp.sql.locks import Lock, LockBook
from dev_postgres_mcp.sql.sessions import ask, open_lasting_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo
    from dev_postgres_mcp.rehearsals import LockHeld

_PACE = ((1.0, 0.01), (10.0, 0.05), (inf, 0.25))
"""While a statement is younger than the first number of seconds, the second lies between two looks."""
_LOOKS_AT_WILL = 200
_BREATHER = 0.01
"""Seconds between two asked looks in a script of more statements than that, so that looking stays cheap."""
_BLIND_SECONDS = 1.0
_GRACE = 3.0
"""Seconds after the deadline to end the session in; also a server that answers nothing takes no longer."""
_END_MILLISECONDS = 1500


class Watcher:
    """Looks at one session by its process id, on a thread of its own and when it is asked.  Thread-safe."""

    def __init__(self, connection: psycopg.Connection[Any], pid: int) -> None:
        """Look through `connection` at the session `pid`; `watching` makes one."""
        self._connection = connection
        self._pid = pid
        self._book = LockBook()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._transaction = 0
        self._statement: int | None = None
        self._since = time.monotonic()
        self._looks = 0
        self._last = self._blind_until = -inf

    def begin_statement(self, index: int | None) -> None:
        """Say which statement runs from now on; the looks become frequent again."""
        self._statement, self._since = index, time.monotonic()

    def look(self, *, now: bool = False) -> None:
        """Take down what is held; leaves out looks that follow too closely unless it has to be `now`."""
        early = time.monotonic() < self._last + _BREATHER
        if (early and self._looks > _LOOKS_AT_WILL and not now) or time.monotonic() < self._blind_until:
            return
        transaction, statement = self._transaction, self._statement
        try:
            rows = ask(self._connection, "locks_of", pid=self._pid).fetchall()
        except psycopg.Error:
            self._blind_until = time.monotonic() + _BLIND_SECONDS
            return
        self._take_down([Lock(*row) for row in rows], transaction, statement)

    def end_transaction(self) -> None:
        """Say that everything has been given back by now."""
        with self._lock:
            self._transaction += 1
            self._book.release(at=time.monotonic())

    def held(self) -> tuple[LockHeld, ...]:
        """Return what was held."""
        with self._lock:
            return self._book.held()

    def keep_looking(self) -> None:
        """Look until `stop`."""
        while not self._stop.wait(self._pause()):
            self.look(now=True)

    def stop(self) -> None:
        """End `keep_looking`."""
        self._stop.set()

    def end_session(self) -> None:
        """End the session that is looked at, and wait until its transaction is rolled back."""
        with suppress(psycopg.Error):
            ask(self._connection, "end_session", pid=self._pid, milliseconds=_END_MILLISECONDS)

    def _pause(self) -> float:
        age = time.monotonic() - self._since
        return next(pause for limit, pause in _PACE if age < limit)

    def _take_down(self, locks: list[Lock], transaction: int, statement: int | None) -> None:
        with self._lock:
            self._looks += 1
            self._last = time.monotonic()
            if transaction == self._transaction:
                # Each statement ends with a look: what is new to this one, however late it comes, belongs to
                # the statement that runs by now.
                self._book.see(locks, at=self._last, statement=self._statement)
            else:
                self._book.glimpse(locks, at=self._last, statement=statement)


@contextmanager
def watching(conninfo: Conninfo, pid: int, deadline: Deadline) -> Iterator[Watcher]:
    """Yield a watcher of the session `pid`; ends that session when the block is left by an exception."""
    with open_lasting_session(conninfo, deadline, grace=_GRACE) as connection:
        ask(connection, "watcher_timeouts")
        watcher = Watcher(connection, pid)
        thread = threading.Thread(target=watcher.keep_looking, name="watch-locks", daemon=True)
        thread.start()
        try:
            yield watcher
        except BaseException:
            watcher.end_session()
            raise
        finally:
            watcher.stop()
            thread.join()
