"""What one serving process has made, and what becomes of it when the process ends."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import DevPostgresError

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance

KEEPER_SECONDS = 3.0
"""For the pool's keeper to undo what it is starting."""


class Session:
    """Knows the instances of this session, tells the pool of claims, and puts away at the end.  Thread-safe."""

    def __init__(self, app: App, *, drop_on_exit: bool = False) -> None:
        """Keep house for `app`; without `drop_on_exit` instances end by their leases."""
        self._app = app
        self._drop_on_exit = drop_on_exit
        self._made: set[str] = set()
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Fill the pool and sweep the engine, now and then."""
        self._app.keeper.start()

    def adopt(self, instance: Instance) -> Instance:
        """Note an instance of this session, on the thread that made it, and have the pool filled again."""
        with self._lock:
            self._made.add(instance.id)
        self._app.keeper.refill()
        return instance

    def forget(self, instance_id: str) -> None:
        """Note that an instance is gone."""
        with self._lock:
            self._made.discard(instance_id)

    def end(self) -> None:
        """Put away this session's instances when they are to be dropped, then its spares."""
        if self._drop_on_exit:
            with self._lock:
                made, self._made = sorted(self._made), set()
            with suppress(DevPostgresError):
                self._app.manager.drop(made)
        self._app.keeper.stop(KEEPER_SECONDS)
