"""Exit codes: one table from our errors to what a shell sees.

0 ok - 1 failure - 2 usage, bad input or configuration - 3 not found - 4 engine unavailable -
5 a ceiling or the port range is reached - 6 image unavailable - 7 the server did not become ready -
128 + n ended by signal n.
"""

from __future__ import annotations

from dev_postgres_mcp.errors import (
    AmbiguousReference,
    Cancelled,
    DeadlineExceeded,
    DevPostgresError,
    EngineUnavailable,
    ImageUnavailable,
    InstanceNotFound,
    InvalidInput,
    LimitReached,
    ServerNotReady,
    SnapshotNotFound,
)

FAILURE = 1
USAGE = 2
INTERRUPTED = 130

_TABLE: tuple[tuple[type[DevPostgresError], int], ...] = (
    (InvalidInput, USAGE),
    (AmbiguousReference, USAGE),
    (InstanceNotFound, 3),
    (SnapshotNotFound, 3),
    (EngineUnavailable, 4),
    (LimitReached, 5),
    (ImageUnavailable, 6),
    (ServerNotReady, 7),
    (DeadlineExceeded, 7),
    (Cancelled, INTERRUPTED),
)


def exit_code(error: DevPostgresError) -> int:
    """Return what the shell sees of an error."""
    return next((code for kind, code in _TABLE if isinstance(error, kind)), FAILURE)
