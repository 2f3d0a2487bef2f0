"""What a rehearsal asks of PostgreSQL over TCP, so that an in-memory double can answer too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dev_postgres_mcp.changes import Inspection
    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo
    from dev_postgres_mcp.rehearsals import Run, Script


class ScriptSql(Protocol):
    """Two questions on one database.

    Both raise LoginFailed when there is no way in or the server goes away, and DeadlineExceeded or Cancelled
    when their time is over; then nothing of theirs runs on the server any more.
    """

    def inspect(self, conninfo: Conninfo, *, deadline: Deadline) -> Inspection:
        """Return the schema and the exact row counts, as of one moment."""

    def run(self, conninfo: Conninfo, script: Script, *, deadline: Deadline) -> Run:
        """Run a script up to its end or its first failure, and say what it locked meanwhile."""
