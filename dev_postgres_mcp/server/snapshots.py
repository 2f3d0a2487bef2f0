"""The tools of time travel: snapshots, branches, restores and rehearsals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mcp.server.mcpserver import Context

from dev_postgres_mcp.instances.specs import build_branch_spec
from dev_postgres_mcp.instances.trials import read_script
from dev_postgres_mcp.parsing import parse_duration
from dev_postgres_mcp.server.parameters import (
    Apply,
    BranchSource,
    Cpus,
    Force,
    IdleTimeout,
    InstanceRef,
    Labels,
    Memory,
    Name,
    Script,
    ScriptFile,
    SnapshotName,
    SnapshotRef,
    SnapshotTtl,
    Ttl,
)
from dev_postgres_mcp.server.protocol import LOOKS, strict_tool
from dev_postgres_mcp.server.workers import ProgressReporter, Workers
from dev_postgres_mcp.views.instances import InstanceView, view_instance
from dev_postgres_mcp.views.snapshots import (
    MigrationView,
    SnapshotListView,
    SnapshotView,
    view_migration,
    view_snapshot,
    view_snapshots,
)

if TYPE_CHECKING:
    from mcp.server.mcpserver.tools import Tool

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Snapshot
    from dev_postgres_mcp.server.session import Session

_MAKES = {
    "read_only_hint": False,
    "destructive_hint": False,
    "idempotent_hint": False,
    "open_world_hint": False,
}
_DESTROYS = {**_MAKES, "destructive_hint": True}


def snapshot_tools(app: App, workers: Workers, session: Session) -> tuple[Tool, ...]:
    """Return the tools on snapshots over `app`."""
    tools = SnapshotTools(app, workers, session)
    return (
        strict_tool(tools.take_postgres_snapshot, title="Take a snapshot", **_MAKES),
        strict_tool(tools.list_postgres_snapshots, title="List snapshots", **LOOKS),
        strict_tool(tools.branch_postgres_instance, title="Branch a PostgreSQL instance", **_MAKES),
        strict_tool(tools.restore_postgres_instance, title="Restore a PostgreSQL instance", **_DESTROYS),
        strict_tool(tools.delete_postgres_snapshot, title="Delete a snapshot", **_DESTROYS),
        strict_tool(tools.rehearse_migration, title="Rehearse a migration", **_DESTROYS),
    )


class SnapshotTools:
    """The tools as methods: their docstrings and annotations are what the model reads."""

    def __init__(self, app: App, workers: Workers, session: Session) -> None:
        """Call the verbs of `app` on `workers`; what is made is `session`'s."""
        self._app = app
        self._workers = workers
        self._session = session

    async def take_postgres_snapshot(
        self,
        id: InstanceRef,  # noqa: A002 - the wire's word
        name: SnapshotName = None,
        ttl: SnapshotTtl = None,
    ) -> SnapshotView:
        """Freeze an instance's whole cluster - all databases, roles and settings - under a name.

        Everything committed before the call is in it. Clients stay connected; the server stands still meanwhile,
        for a fraction of a second or some seconds per gigabyte. Returns the name to restore to or branch from.
        """

        def take(deadline: Deadline) -> Snapshot:
            seconds = self._app.settings.snapshot_ttl if ttl is None else parse_duration(ttl, what="ttl")
            return self._app.snapshots.take(id, name, ttl=seconds, deadline=deadline)

        return view_snapshot(await self._workers.run(take, undoable=True))

    async def list_postgres_snapshots(self) -> SnapshotListView:
        """List every snapshot on this engine, oldest first.

        Returns name, source, size, expires_at and the instances that stand on each.
        """
        return view_snapshots(await self._workers.run(lambda _: self._app.snapshots.list()))

    async def branch_postgres_instance(
        self,
        ctx: Context[None],
        source: BranchSource,
        name: Name = None,
        memory: Memory = None,
        cpus: Cpus = None,
        ttl: Ttl = None,
        idle_timeout: IdleTimeout = None,
        labels: Labels = {},  # noqa: B006 - never changed; pydantic copies it
    ) -> InstanceView:
        """Start a new instance with the data of another one as it stands now, or of a snapshot.

        It has a password, port and dsn of its own; nothing done in it touches the source. Returns the same fields
        as create. It takes constant time, however much data there is.
        """
        report = ProgressReporter(ctx)
        instance = await self._workers.run(
            lambda deadline: self._session.adopt(
                self._app.snapshots.branch(
                    source,
                    build_branch_spec(
                        self._app.defaults,
                        name=name,
                        memory=memory,
                        cpus=cpus,
                        ttl=ttl,
                        idle_timeout=idle_timeout,
                        labels=labels,
                    ),
                    progress=report,
                    deadline=deadline,
                )
            ),
            undoable=True,
        )
        return view_instance(instance)

    async def restore_postgres_instance(
        self,
        ctx: Context[None],
        id: InstanceRef,  # noqa: A002 - the wire's word
        snapshot: SnapshotRef,
    ) -> InstanceView:
        """Put an instance back to a snapshot: what came after it is lost; id, port, password and dsn stay.

        Open connections end (57P01); connect again with the same dsn. Returns the same fields as get.
        """
        report = ProgressReporter(ctx)
        return view_instance(
            await self._workers.run(
                lambda deadline: self._app.snapshots.restore(
                    id, snapshot, progress=report, deadline=deadline
                ),
                undoable=True,
            )
        )

    async def delete_postgres_snapshot(
        self,
        snapshot: SnapshotRef,
        force: Force = False,  # noqa: FBT002 - the wire's
    ) -> SnapshotView:
        """Delete a snapshot. Refused while instances stand on it; with force its branches are dropped too.

        An instance that was restored to it is never dropped by that: it is named in the refusal. Returns what was
        deleted, `branches` being the instances that were dropped.
        """
        return view_snapshot(
            await self._workers.run(lambda _: self._app.snapshots.delete(snapshot, force=force))
        )

    async def rehearse_migration(
        self,
        ctx: Context[None],
        id: InstanceRef,  # noqa: A002 - the wire's word
        sql: Script = None,
        file: ScriptFile = None,
        apply: Apply = False,  # noqa: FBT002 - the wire's
    ) -> MigrationView:
        """Run a migration on a throwaway branch of an instance and report what it did; the instance is not touched.

        Returns duration, statements, locks and how long they were held, tables rewritten, the schema's differences,
        rows changed, and the error with its position. With apply the same SQL then runs on the instance itself, but
        only when the rehearsal went well.
        """
        report = ProgressReporter(ctx)
        return view_migration(
            await self._workers.run(
                lambda deadline: self._app.trials.rehearse(
                    id,
                    read_script(sql, Path(file) if file is not None else None),
                    build_branch_spec(self._app.defaults, ttl="1h"),
                    apply=apply,
                    progress=report,
                    deadline=deadline,
                ),
                undoable=True,
            )
        )
