"""Which port to try next.  The engine is the judge of who gets one: it lets one container publish a port.

Creators draw from a random start, so that they seldom meet, and never retry a port that the engine has
refused them.  Creators in one process also keep out of each other's way here; across processes and
machines the engine's refusal is what keeps two from ever holding the same port.
"""

from __future__ import annotations

import random
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import PortsExhausted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class PortRange:
    """The ports of one engine that we may publish on.  Thread-safe; holds no lock while a port is tried."""

    def __init__(self, ports: range) -> None:
        """Draw from `ports`."""
        self._ports = ports
        self._drawn: set[int] = set()
        self._lock = threading.Lock()

    @contextmanager
    def claim(self, *, taken: Iterable[int]) -> Iterator[int]:
        """Yield a port that is not in `taken` and that no other thread is trying.

        Raises PortsExhausted when there is none.
        """
        port = self._draw(set(taken))
        try:
            yield port
        finally:
            with self._lock:
                self._drawn.discard(port)

    def _draw(self, taken: set[int]) -> int:
        start = random.randrange(len(self._ports))  # noqa: S311 - spreads load, guards nothing
        with self._lock:
            for step in range(len(self._ports)):
                port = self._ports[(start + step) % len(self._ports)]
                if port not in taken and port not in self._drawn:
                    self._drawn.add(port)
                    return port
        first, last = self._ports[0], self._ports[-1]
        raise PortsExhausted(f"every port of {first}-{last} is taken")
