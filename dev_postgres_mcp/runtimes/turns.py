"""Turns among the processes of one machine, for what only one of them shall make."""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dev_postgres_mcp.deadline import Deadline

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2


@contextmanager
def take_turn(lock_file: Path, deadline: Deadline, doing: str) -> Iterator[None]:
    """Wait for the others on this machine; without a place for the lock there are no turns."""
    from filelock import FileLock, Timeout

    lock = FileLock(lock_file)
    held = False
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        while not held:
            deadline.check(f"waiting for another process that is {doing}")
            with suppress(Timeout):
                lock.acquire(timeout=_LOOK_SECONDS)
                held = True
    except OSError as exc:
        log.warning("no lock for %s: %s: %s", doing, lock_file, exc.strerror)
    try:
        yield
    finally:
        lock.release()
