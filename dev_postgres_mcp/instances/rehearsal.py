"""What would this script do: run it where it may break something, and compare before with after.

The same run on a server that matters is the migration itself: what it reports is then what was done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev_postgres_mcp.instances.differences import compare
from dev_postgres_mcp.rehearsals import Rehearsal
from dev_postgres_mcp.sql.splitting import parse_script

if TYPE_CHECKING:
    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo
    from dev_postgres_mcp.sql.script_base import ScriptSql


def rehearse(sql: ScriptSql, conninfo: Conninfo, script: str, *, deadline: Deadline) -> Rehearsal:
    """Run `script` on the database of `conninfo` and return all that it did; a failing script is no error.

    Raises InvalidInput, before anything runs, for a script that only psql understands; LoginFailed when there
    is no way in; DeadlineExceeded or Cancelled when the time is over: the running statement is then cut and
    rolled back, and only what the script itself had committed stays.
    """
    parsed = parse_script(script)
    before = sql.inspect(conninfo, deadline=deadline)
    run = sql.run(conninfo, parsed, deadline=deadline)
    after = sql.inspect(conninfo, deadline=deadline)
    if run.failure and parsed.in_transaction:
        after = after.without_counters()
    return Rehearsal(
        in_transaction=parsed.in_transaction,
        separate_reason=parsed.separate_reason,
        seconds=run.seconds,
        statements=run.statements,
        locks=run.locks,
        changes=compare(before, after),
        failure=run.failure,
    )
