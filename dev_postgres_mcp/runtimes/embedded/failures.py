"""The system's words in ours."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import DiskFull, EngineFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def translating(doing: str) -> Iterator[None]:
    """Raise DiskFull or EngineFailed for what the system refuses while `doing`."""
    try:
        yield
    except OSError as exc:
        what = f"{exc.strerror}: {exc.filename}" if exc.filename else exc.strerror or str(exc)
        if exc.errno in _FULL:
            raise DiskFull(
                f"the disk is full, which was found while {doing}: {what}",
                hint="make room (`dev-postgres-mcp postgres drop --all`), or let `embedded_storage` name another place",
            ) from exc
        raise EngineFailed(
            f"{doing} failed: {what}",
            hint="fix the permissions of that place, or set XDG_STATE_HOME to another one",
        ) from exc
