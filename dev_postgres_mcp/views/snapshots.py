"""Snapshots and rehearsals, as every face shows them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import Field

from dev_postgres_mcp.views.base import View

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dev_postgres_mcp.changes import Changes
    from dev_postgres_mcp.instances.trials import MigrationReport
    from dev_postgres_mcp.model import Snapshot
    from dev_postgres_mcp.rehearsals import Rehearsal


class SnapshotView(View):
    """A frozen state of a whole cluster."""

    id: str = Field(description="Twelve characters; any unique prefix works.")
    name: str = Field(description="Its name.")
    source: str = Field(description="The instance that it was taken of.")
    version: str = Field(description="PostgreSQL major version.")
    image: str = Field(description="Image of the instance.")
    created_at: datetime = Field(description="When it was taken.")
    expires_at: datetime | None = Field(description="When a sweep removes it; null: never.")
    size_bytes: int = Field(description="Disk space that it takes beyond what it stands on.")
    branches: list[str] = Field(description="Instances that stand on it.")
    restored: list[str] = Field(description="Those of them that were restored to it: force never drops them.")


class SnapshotListView(View):
    """All snapshots of the engine."""

    snapshots: list[SnapshotView] = Field(description="Oldest first.")
    size_bytes: int = Field(description="Sum of their sizes.")


class SchemaChangeView(View):
    """One object that is not what it was."""

    effect: str = Field(description="added, removed or altered.")
    object: str = Field(description="Kind and name.")
    before: str | None = Field(description="Definition before.")
    after: str | None = Field(description="Definition after.")


class RowsChangedView(View):
    """The rows of one table that changed."""

    table: str = Field(description="Qualified name.")
    before: int | None = Field(description="Rows before; null: there was no such table.")
    after: int | None = Field(description="Rows after; null: the table is gone.")
    inserted: int | None = Field(description="Rows inserted, as the server counted.")
    updated: int | None = Field(description="Rows updated.")
    deleted: int | None = Field(description="Rows deleted.")


class ChangesView(View):
    """What is different."""

    schema_changes: list[SchemaChangeView] = Field(description="Objects added, removed and altered.")
    rows: list[RowsChangedView] = Field(description="Tables whose rows changed.")
    rewritten: list[str] = Field(description="Tables that were written anew as a whole.")


class StatementView(View):
    """One statement that went well."""

    line: int = Field(description="Line of the script.")
    sql: str = Field(description="Its first line.")
    seconds: float = Field(description="How long it took.")
    tag: str = Field(description="PostgreSQL's answer, such as UPDATE 5.")
    notices: list[str] = Field(description="Notices of the server.")


class LockView(View):
    """The strongest lock held on one relation."""

    relation: str = Field(description="Qualified name.")
    mode: str = Field(description="PostgreSQL's name of the lock mode.")
    seconds: float = Field(description="How long it was held, at least.")
    blocks_reads: bool = Field(description="Whether a SELECT has to wait for it.")
    blocks_writes: bool = Field(description="Whether an INSERT, UPDATE or DELETE has to wait for it.")


class FailureView(View):
    """Why a script stopped."""

    line: int = Field(description="Line of the script.")
    column: int = Field(description="Column of that line.")
    offset: int = Field(description="Characters before it in the whole script.")
    sqlstate: str = Field(description="PostgreSQL's error code.")
    message: str = Field(description="The server's words.")
    detail: str | None = Field(description="The server's detail.")
    hint: str | None = Field(description="The server's hint.")


class RunView(View):
    """One run of a script."""

    succeeded: bool = Field(description="Whether every statement ran and was committed.")
    in_transaction: bool = Field(
        description="Whether it ran as one transaction: then a failure left nothing."
    )
    separate_reason: str | None = Field(description="Why it could not be one transaction.")
    seconds: float = Field(description="Duration of the statements.")
    statements: list[StatementView] = Field(description="What went well, in order.")
    locks: list[LockView] = Field(description="What others would have had to wait for.")
    changes: ChangesView = Field(description="What is different afterwards.")
    failure: FailureView | None = Field(description="Why it stopped.")


class MigrationView(View):
    """A migration, rehearsed on a branch and applied when that was asked for and the rehearsal went well."""

    id: str = Field(description="The instance.")
    rehearsal: RunView = Field(description="What it did to the branch, which is gone again.")
    applied: RunView | None = Field(
        description="What it did to the instance; null: the instance was not touched."
    )


def view_snapshot(snapshot: Snapshot) -> SnapshotView:
    """Return the view of a snapshot."""
    return SnapshotView(
        id=snapshot.id,
        name=snapshot.name,
        source=snapshot.source,
        version=snapshot.version,
        image=snapshot.image,
        created_at=snapshot.created_at,
        expires_at=snapshot.expires_at,
        size_bytes=snapshot.size,
        branches=list(snapshot.branches),
        restored=list(snapshot.restored),
    )


def view_snapshots(snapshots: Sequence[Snapshot]) -> SnapshotListView:
    """Return the view of a list of snapshots."""
    return SnapshotListView(
        snapshots=[view_snapshot(snapshot) for snapshot in snapshots],
        size_bytes=sum(snapshot.size for snapshot in snapshots),
    )


def view_changes(changes: Changes) -> ChangesView:
    """Return the view of what is different."""
    return ChangesView(
        schema_changes=[
            SchemaChangeView(
                effect=change.effect.value,
                object=change.identity.label(),
                before=change.before or None,
                after=change.after or None,
            )
            for change in changes.schema
        ],
        rows=[
            RowsChangedView(
                table=rows.table,
                before=rows.before,
                after=rows.after,
                inserted=rows.inserted,
                updated=rows.updated,
                deleted=rows.deleted,
            )
            for rows in changes.rows
        ],
        rewritten=list(changes.rewritten),
    )


def view_run(run: Rehearsal) -> RunView:
    """Return the view of one run of a script."""
    failure = run.failure
    return RunView(
        succeeded=run.succeeded,
        in_transaction=run.in_transaction,
        separate_reason=run.separate_reason or None,
        seconds=run.seconds,
        statements=[
            StatementView(
                line=one.line,
                sql=one.first_line,
                seconds=one.seconds,
                tag=one.tag,
                notices=list(one.notices),
            )
            for one in run.statements
        ],
        locks=[
            LockView(
                relation=lock.relation,
                mode=lock.mode,
                seconds=lock.seconds,
                blocks_reads=lock.blocks_reads,
                blocks_writes=lock.blocks_writes,
            )
            for lock in run.locks
        ],
        changes=view_changes(run.changes),
        failure=FailureView(
            line=failure.position.line,
            column=failure.position.column,
            offset=failure.position.offset,
            sqlstate=failure.sqlstate,
            message=failure.message,
            detail=failure.detail or None,
            hint=failure.hint or None,
        )
        if failure
        else None,
    )


def view_migration(report: MigrationReport) -> MigrationView:
    """Return the view of a migration."""
    return MigrationView(
        id=report.instance_id,
        rehearsal=view_run(report.rehearsal),
        applied=view_run(report.applied) if report.applied else None,
    )
