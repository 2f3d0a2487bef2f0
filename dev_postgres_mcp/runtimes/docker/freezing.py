"""Has a server stand still for as long as somebody copies its cluster, and tells whether it did."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import DevPostgresError, EngineFailed
from dev_postgres_mcp.parsing import new_id
from dev_postgres_mcp.runtimes.docker.state import FROZEN, STATE_DIRECTORY, render_freeze

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.runtimes.base import Container
    from dev_postgres_mcp.runtimes.docker.beside import Beside

FREEZE_SECONDS = 15
"""How long a server stands still when whoever asked for it dies; the switch grants at most a minute."""
RENEW_SECONDS = 4.0
STILL_SECONDS = 5.0
"""For all processes of a server to stand still; usual are some milliseconds."""
_POLL_SECONDS = 0.003


class Freezer:
    """Asks the switch beside a server, in the way of `shell/freeze.sh`.  Several may ask at the same time."""

    def __init__(self, beside: Beside) -> None:
        """Write and look through `beside`."""
        self._beside = beside

    @contextmanager
    def freezing(self, container: Container, *, deadline: Deadline) -> Iterator[Callable[[], None]]:
        """Let the server stand still during the body, which calls what is yielded when its copy is whole.

        That call, and the beginning, raise EngineFailed for a server that moves.
        """
        key = new_id()
        try:
            self._ask(container, key, FREEZE_SECONDS, deadline)
            since = self._wait_still(container, deadline)

            def check() -> None:
                if self._since(container, deadline) != since:
                    raise EngineFailed(f"{container.name} went on while it was copied", hint="try again")

            with self._renewing(container, key, deadline):
                yield check
        finally:
            # The switch lets it go by itself, only later.
            with suppress(DevPostgresError):
                self._ask(container, key, 0, deadline.undoing())

    def _ask(self, container: Container, key: str, seconds: int, deadline: Deadline) -> None:
        self._beside.write(container, render_freeze(key, seconds), deadline=deadline)

    def _since(self, container: Container, deadline: Deadline) -> str:
        return self._beside.changed_at(container, f"{STATE_DIRECTORY}/{FROZEN}", deadline=deadline)

    def _wait_still(self, container: Container, deadline: Deadline) -> str:
        patience = deadline.part(STILL_SECONDS)
        while not (since := self._since(container, deadline)):
            if patience.remaining() <= 0:
                raise EngineFailed(
                    f"{container.name} does not stand still to be copied",
                    hint="it may be starting programs all the time: try again; "
                    "or an older dev-postgres-mcp has made it",
                )
            patience.sleep(_POLL_SECONDS)
        return since

    @contextmanager
    def _renewing(self, container: Container, key: str, deadline: Deadline) -> Iterator[None]:
        done = threading.Event()

        def renew() -> None:
            while not done.wait(RENEW_SECONDS):
                try:
                    self._ask(container, key, FREEZE_SECONDS, deadline)
                except DevPostgresError:
                    return  # the check will tell

        thread = threading.Thread(target=renew, name="renew-freeze", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
