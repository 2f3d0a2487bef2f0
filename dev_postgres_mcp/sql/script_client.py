"""`ScriptSql` over TCP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev_postgres_mcp.sql.inspection import inspect_database
from dev_postgres_mcp.sql.running import run_script

if TYPE_CHECKING:
    from dev_postgres_mcp.changes import Inspection
    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo
    from dev_postgres_mcp.rehearsals import Run, Script


class PsycopgScriptSql:
    """Holds nothing between calls; safe on any thread."""

    def inspect(self, conninfo: Conninfo, *, deadline: Deadline) -> Inspection:
        """Return the schema and the exact row counts, as of one moment."""
        return inspect_database(conninfo, deadline=deadline)

    def run(self, conninfo: Conninfo, script: Script, *, deadline: Deadline) -> Run:
        """Run a script up to its end or its first failure, and say what it locked meanwhile."""
        return run_script(conninfo, script, deadline=deadline)
