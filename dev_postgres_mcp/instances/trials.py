"""Trying things where they cannot harm: on a branch that is dropped again."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import InvalidInput
from dev_postgres_mcp.instances.differences import compare
from dev_postgres_mcp.instances.rehearsal import rehearse
from dev_postgres_mcp.instances.runs import conninfo_of, let_go
from dev_postgres_mcp.model import Progress
from dev_postgres_mcp.sql.splitting import parse_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dev_postgres_mcp.changes import Changes, Inspection
    from dev_postgres_mcp.instances.manager import InstanceManager
    from dev_postgres_mcp.instances.snapshots import Snapshots
    from dev_postgres_mcp.model import BranchSpec, Conninfo, Instance
    from dev_postgres_mcp.rehearsals import Rehearsal
    from dev_postgres_mcp.sql.script_base import ScriptSql


@dataclass(frozen=True, kw_only=True)
class MigrationReport:
    """A rehearsal on a branch; `applied` is the run on the instance itself, None when it was not touched."""

    instance_id: str
    rehearsal: Rehearsal
    applied: Rehearsal | None = None


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A branch to try something on, and its database as it was at first."""

    instance: Instance
    conninfo: Conninfo
    before: Inspection


class Trials:
    """Rehearse migrations and try commands on branches of one runtime's instances."""

    def __init__(self, manager: InstanceManager, snapshots: Snapshots, sql: ScriptSql) -> None:
        """Branch through `snapshots`, look and run through `sql`."""
        self._manager = manager
        self._snapshots = snapshots
        self._sql = sql

    def rehearse(
        self,
        ref: str,
        script: str,
        spec: BranchSpec,
        *,
        apply: bool = False,
        progress: Callable[[Progress], None] = lambda _: None,
        deadline: Deadline | None = None,
    ) -> MigrationReport:
        """Run `script` on a branch; then, with `apply` and when it went well, the same on the instance.

        Raises InvalidInput, before anything is begun, for a script that only psql understands.
        """
        deadline = deadline or Deadline(inf)
        parse_script(script)
        instance = self._manager.get(ref)
        with self.open(instance.id, spec, progress=progress, deadline=deadline) as trial:
            progress(Progress(message="rehearsing"))
            rehearsal = rehearse(self._sql, trial.conninfo, script, deadline=deadline)
        applied = None
        if apply and rehearsal.succeeded:
            progress(Progress(message=f"applying to {instance.id}"))
            applied = rehearse(self._sql, conninfo_of(instance), script, deadline=deadline)
        return MigrationReport(instance_id=instance.id, rehearsal=rehearsal, applied=applied)

    @contextmanager
    def open(
        self,
        source: str,
        spec: BranchSpec,
        *,
        keep: bool = False,
        progress: Callable[[Progress], None] = lambda _: None,
        deadline: Deadline | None = None,
    ) -> Iterator[Trial]:
        """Yield a branch to try something on; afterwards it is dropped unless it is to be kept."""
        deadline = deadline or Deadline(inf)
        branch = self._snapshots.branch(source, spec, progress=progress, deadline=deadline)
        try:
            conninfo = conninfo_of(branch)
            before = self._sql.inspect(conninfo, deadline=deadline)
            yield Trial(instance=branch, conninfo=conninfo, before=before)
        finally:
            if not keep:
                let_go(self._manager, branch)

    def compare(self, trial: Trial, *, deadline: Deadline | None = None) -> Changes:
        """Return what has changed on the branch."""
        after = self._sql.inspect(trial.conninfo, deadline=deadline or Deadline(inf))
        return compare(trial.before, after)


def read_script(text: str | None, file: Path | None) -> str:
    """Return the script that is given as a text or as a file; raises InvalidInput for neither and for both."""
    if (text is None) == (file is None):
        raise InvalidInput("give the SQL or a file with it", hint="one of the two")
    if file is None:
        return text or ""
    try:
        return file.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, RuntimeError) as exc:
        raise InvalidInput(f"the script {file} cannot be read", hint="name a UTF-8 text file") from exc
