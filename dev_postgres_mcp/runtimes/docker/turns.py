"""Turns among the processes of one machine, for what only one of them shall make."""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dev_postgres_mcp.deadline import Deadline

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2


def freezer_lock(directory: Path, container_id: str) -> Path:
    """Return the lock for whoever freezes a container, and for whoever starts a process in it.

    The two must not meet: what is started into a container that is being frozen hangs, and with it each
    inspection, which keeps the engine from thawing it (Engine 20.10 to 28).  Few files, so that none is removed.
    """
    return directory / "freezer" / f"{container_id[:2]}.lock"


@contextmanager
def take_turn(lock_file: Path, deadline: Deadline, doing: str) -> Iterator[None]:
    """Wait for the others on this machine; without a place for the lock there are no turns."""
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
