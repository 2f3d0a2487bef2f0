"""Views of the pool, images, sweeps, snapshots and changes, as tables and JSON on stdout."""

from __future__ import annotations

from datetime import UTC, datetime
from difflib import ndiff
from typing import TYPE_CHECKING

from dev_postgres_mcp.cli.options import OutputFormat
from dev_postgres_mcp.cli.render import count, render_age, render_left, show_json, show_table, show_text, talk
from dev_postgres_mcp.parsing import render_size

if TYPE_CHECKING:
    from dev_postgres_mcp.views.snapshots import ChangesView, MigrationView, RunView, SnapshotListView
    from dev_postgres_mcp.views.upkeep import PoolView, PreparedImageListView, SweepView


def show_pool(view: PoolView, form: OutputFormat, *, quiet: bool) -> None:
    """Write the spares."""
    if form is OutputFormat.JSON:
        show_json(view)
    elif quiet:
        for spare in view.spares:
            show_text(spare.id)
    else:
        rows = [
            (spare.id, spare.version, str(spare.port), _age(spare.created_at), spare.maker)
            for spare in view.spares
        ]
        show_table(("SPARE", "VERSION", "PORT", "AGE", "KEEPER"), rows)
        talk(f"{count(len(rows), 'spare')}; each `mcp serve` keeps {view.size} (setting `pool_size`)")


def show_prepared(view: PreparedImageListView, form: OutputFormat, *, quiet: bool) -> None:
    """Write prepared images."""
    if form is OutputFormat.JSON:
        show_json(view)
    elif quiet:
        for image in view.images:
            show_text(image.id)
    else:
        rows = [
            (
                image.base,
                image.seed or "",
                image.version,
                render_size(image.size_bytes),
                _age(image.created_at),
                "stale" if image.stale else "fresh",
                str(len(image.users)),
            )
            for image in view.images
        ]
        show_table(("BASE", "SEED", "VERSION", "SIZE", "AGE", "STATE", "INSTANCES"), rows)


def show_sweep(view: SweepView, form: OutputFormat, *, quiet: bool) -> None:
    """Write what a sweep has found."""
    if form is OutputFormat.JSON:
        show_json(view)
    elif quiet:
        for one in view.leftovers:
            show_text(one.name)
    else:
        if view.leftovers:
            show_table(("KIND", "NAME", "REASON"), [(o.kind, o.name, o.reason) for o in view.leftovers])
        talk(f"{count(len(view.leftovers), 'leftover')}{' would be' if view.dry_run else ''} removed")


def show_snapshots(view: SnapshotListView, form: OutputFormat, *, quiet: bool) -> None:
    """Write snapshots."""
    if form is OutputFormat.JSON:
        show_json(view)
    elif quiet:
        for snapshot in view.snapshots:
            show_text(snapshot.id)
    else:
        rows = [
            (
                one.id,
                one.name,
                one.source,
                one.version,
                render_size(one.size_bytes),
                _age(one.created_at),
                render_left(one.expires_at),
                " ".join(one.branches),
            )
            for one in view.snapshots
        ]
        heads = ("ID", "NAME", "SOURCE", "VERSION", "SIZE", "AGE", "ENDS IN", "INSTANCES")
        show_table(heads, rows)
        talk(f"{count(len(rows), 'snapshot')}, {render_size(view.size_bytes)}")


def talk_changes(view: ChangesView) -> None:
    """Tell on stderr what is different: stdout belongs to the command that was tried."""
    lines = [
        f"  {change.effect} {change.object}{_tell(change.before or '', change.after or '')}"
        for change in view.schema_changes
    ]
    for rows in view.rows:
        counts = f"{_rows(rows.before)} -> {_rows(rows.after)} rows"
        lines.append(f"  {rows.table}: {counts}{_attempts(rows.inserted, rows.updated, rows.deleted)}")
    lines += [f"  {table}: written anew as a whole" for table in view.rewritten]
    talk("\n".join(["what changed:", *lines]) if lines else "nothing changed")


def show_migration(view: MigrationView, form: OutputFormat, *, quiet: bool) -> None:
    """Write how a rehearsal went."""
    if form is OutputFormat.JSON:
        show_json(view)
        return
    _talk_run("rehearsed", view.rehearsal, quiet=quiet)
    if view.applied is not None:
        _talk_run("applied", view.applied, quiet=quiet)
    elif not quiet:
        talk(f"{view.id} was not touched")


def _talk_run(verb: str, run: RunView, *, quiet: bool) -> None:
    if run.failure is not None:
        where = f"line {run.failure.line}, column {run.failure.column}"
        talk(f"{verb}: failed at {where}: {run.failure.message} ({run.failure.sqlstate})")
        if run.failure.detail:
            talk(run.failure.detail)
        if run.failure.hint:
            talk(f"hint: {run.failure.hint}")
    if quiet:
        return
    how = "in one transaction" if run.in_transaction else f"statement by statement: {run.separate_reason}"
    if run.failure is not None and run.in_transaction:
        how += ", rolled back"
    talk(f"{verb} in {run.seconds:.3f} s, {how}")
    if run.statements:
        rows = [(str(one.line), f"{one.seconds:.3f}", one.tag, one.sql) for one in run.statements]
        show_table(("LINE", "SECONDS", "RESULT", "STATEMENT"), rows)
    if run.locks:
        rows = [
            (lock.relation, lock.mode, f"{lock.seconds:.3f}", _blocks(lock.blocks_reads, lock.blocks_writes))
            for lock in run.locks
        ]
        show_table(("LOCKED", "MODE", "SECONDS", "BLOCKS"), rows)
    talk_changes(run.changes)


def _blocks(reads: bool, writes: bool) -> str:
    return "reads and writes" if reads else "writes" if writes else "neither"


def _tell(before: str, after: str) -> str:
    """Return definitions as one line or, where they are longer, only the lines that differ."""
    if "\n" not in before + after:
        text = " -> ".join(filter(None, (before, after)))
        return f": {text}" if text else ""
    lines = ndiff(before.splitlines(), after.splitlines())
    return "".join(f"\n    {line.rstrip()}" for line in lines if line.startswith(("+", "-")))


def _rows(rows: int | None) -> str:
    return "no table" if rows is None else str(rows)


def _attempts(inserted: int | None, updated: int | None, deleted: int | None) -> str:
    words = [
        f"{count} {verb}"
        for count, verb in ((inserted, "inserted"), (updated, "updated"), (deleted, "deleted"))
        if count
    ]
    return f" ({', '.join(words)})" if words else ""


def _age(moment: datetime) -> str:
    return render_age((datetime.now(UTC) - moment).total_seconds())
