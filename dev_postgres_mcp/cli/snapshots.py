"""`dev-postgres-mcp postgres snapshot|branch|restore|try|rehearse`: time travel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dev_postgres_mcp.cli.exits import FAILURE
from dev_postgres_mcp.cli.groups import make_group
from dev_postgres_mcp.cli.invocation import invocation_of
from dev_postgres_mcp.cli.options import (
    Cpus,
    ForceOption,
    FormatOption,
    IdleTimeout,
    InstanceArgument,
    InstanceFormat,
    InstanceFormatOption,
    Memory,
    Name,
    OutputFormat,
    QuietOption,
    Ttl,
)
from dev_postgres_mcp.cli.progress import ProgressTalk
from dev_postgres_mcp.cli.render import show_instance, talk, talk_kept
from dev_postgres_mcp.cli.signals import run_undoable
from dev_postgres_mcp.cli.tables import show_migration, show_snapshots, talk_changes

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.instances.trials import MigrationReport, Trial
    from dev_postgres_mcp.model import Instance

snapshot_app = make_group()

SnapshotArgument = Annotated[str, typer.Argument(metavar="SNAPSHOT", help="Name or id.")]

BRANCH_EXAMPLES = """\b
Examples:
  dev-postgres-mcp postgres branch k7m --name experiment
  dev-postgres-mcp postgres branch before-migration --ttl 1h --format url"""
RESTORE_EXAMPLES = "\b\nExample:\n  dev-postgres-mcp postgres restore k7m before-migration"
TRY_EXAMPLES = """\b
Examples:
  dev-postgres-mcp postgres try k7m -- alembic upgrade head
  dev-postgres-mcp postgres try before-migration --keep -- psql -c 'drop table orders'"""
REHEARSE_EXAMPLES = """\b
Examples:
  dev-postgres-mcp postgres rehearse k7m migration.sql
  dev-postgres-mcp postgres rehearse k7m migration.sql --apply
  echo 'alter table t add c int' | dev-postgres-mcp postgres rehearse k7m -"""


@snapshot_app.command(
    "take",
    epilog="\b\nExample:\n  dev-postgres-mcp postgres snapshot take k7m before-migration",
)
def take(
    context: typer.Context,
    instance: InstanceArgument,
    name: Annotated[str | None, typer.Argument(help="Its name; one is made up without.")] = None,
    *,
    ttl: Annotated[str | None, typer.Option(help="How long it is kept.", metavar="DURATION")] = None,
    form: FormatOption = OutputFormat.TABLE,
    quiet: QuietOption = False,
) -> None:
    """Freeze an instance's whole cluster under a name; its clients stay connected."""
    from dev_postgres_mcp.parsing import parse_duration
    from dev_postgres_mcp.views.snapshots import view_snapshots

    with invocation_of(context).app("postgres snapshot take") as app:
        seconds = app.settings.snapshot_ttl if ttl is None else parse_duration(ttl, what="ttl")
        run_undoable(
            lambda deadline: app.snapshots.take(instance, name, ttl=seconds, deadline=deadline),
            then=lambda taken: show_snapshots(view_snapshots([taken]), form, quiet=quiet),
        )


@snapshot_app.command("list", epilog="\b\nExample:\n  dev-postgres-mcp postgres snapshot list")
def list_(
    context: typer.Context, *, form: FormatOption = OutputFormat.TABLE, quiet: QuietOption = False
) -> None:
    """List every snapshot on the engine, with the instances that stand on each."""
    from dev_postgres_mcp.views.snapshots import view_snapshots

    with invocation_of(context).app("postgres snapshot list") as app:
        view = view_snapshots(app.snapshots.list())
    show_snapshots(view, form, quiet=quiet)


@snapshot_app.command(
    "delete", epilog="\b\nExample:\n  dev-postgres-mcp postgres snapshot delete before-migration"
)
def delete(
    context: typer.Context,
    snapshot: SnapshotArgument,
    *,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Delete a snapshot; with --force also the instances that stand on it."""
    with invocation_of(context).app("postgres snapshot delete") as app:
        deleted = app.snapshots.delete(snapshot, force=force)
    if not quiet:
        dropped = f", and dropped {', '.join(deleted.branches)}" if deleted.branches else ""
        talk(f"deleted {deleted.name}{dropped}")


def branch(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="An instance or a snapshot.")],
    *,
    name: Name = None,
    memory: Memory = None,
    cpus: Cpus = None,
    ttl: Ttl = None,
    idle_timeout: IdleTimeout = None,
    form: InstanceFormatOption = InstanceFormat.TABLE,
    quiet: QuietOption = False,
) -> None:
    """Start a new instance with the data of another one, or of a snapshot."""
    from dev_postgres_mcp.instances.specs import build_branch_spec
    from dev_postgres_mcp.views.instances import view_instance

    with invocation_of(context).app("postgres branch") as app:
        spec = build_branch_spec(
            app.defaults, name=name, memory=memory, cpus=cpus, ttl=ttl, idle_timeout=idle_timeout
        )

        def make(deadline: Deadline) -> Instance:
            with ProgressTalk(quiet=quiet) as progress:
                return app.snapshots.branch(source, spec, progress=progress, deadline=deadline)

        run_undoable(
            make, then=lambda made: show_instance(view_instance(made), made.conninfo, form, quiet=quiet)
        )


def restore(
    context: typer.Context,
    instance: InstanceArgument,
    snapshot: SnapshotArgument,
    *,
    form: InstanceFormatOption = InstanceFormat.TABLE,
    quiet: QuietOption = False,
) -> None:
    """Put an instance back to a snapshot: same id, port, password and dsn; what came after it is lost."""
    from dev_postgres_mcp.views.instances import view_instance

    with invocation_of(context).app("postgres restore") as app:

        def put_back(deadline: Deadline) -> Instance:
            with ProgressTalk(quiet=quiet) as progress:
                return app.snapshots.restore(instance, snapshot, progress=progress, deadline=deadline)

        run_undoable(
            put_back, then=lambda made: show_instance(view_instance(made), made.conninfo, form, quiet=quiet)
        )


def try_(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="An instance or a snapshot.")],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="What to run.")],
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Do not drop the branch afterwards.")] = False,
    ttl: Ttl = None,
    quiet: QuietOption = False,
) -> None:
    """Run a command on a branch, with DATABASE_URL and PG*, and tell what it changed.  The exit code is its own."""
    from dev_postgres_mcp.cli.children import check_command, run_command
    from dev_postgres_mcp.instances.specs import build_branch_spec

    check_command(command)
    with invocation_of(context).app("postgres try") as app:
        spec = build_branch_spec(app.defaults, name="try", ttl=ttl or "1h")

        def run(deadline: Deadline) -> int:
            with (
                ProgressTalk(quiet=quiet) as progress,
                app.trials.open(source, spec, keep=keep, progress=progress, deadline=deadline) as trial,
            ):
                progress.stop()
                code = run_command(command, trial.conninfo.environment(), deadline)
                if not quiet:
                    _talk_what_changed(app, trial)
                if keep:
                    talk_kept(trial.instance.id)
                return code

        raise typer.Exit(run_undoable(run))


def _talk_what_changed(app: App, trial: Trial) -> None:
    """Tell it if it can be told: the command may have stopped the server or changed the password."""
    from dev_postgres_mcp.errors import DevPostgresError
    from dev_postgres_mcp.views.snapshots import view_changes

    try:
        talk_changes(view_changes(app.trials.compare(trial)))
    except DevPostgresError as exc:
        talk(f"what changed cannot be told: {exc.message}")


def rehearse(
    context: typer.Context,
    instance: InstanceArgument,
    script: Annotated[str, typer.Argument(metavar="FILE", help="File with the SQL; - for stdin.")],
    *,
    apply: Annotated[
        bool, typer.Option("--apply", help="Run it on the instance too, when the rehearsal went well.")
    ] = False,
    form: FormatOption = OutputFormat.TABLE,
    quiet: QuietOption = False,
) -> None:
    """Run a migration on a branch and tell what it changes, locks and rewrites.  Exit code 1 when it fails."""
    import sys

    from dev_postgres_mcp.instances.specs import build_branch_spec
    from dev_postgres_mcp.instances.trials import read_script
    from dev_postgres_mcp.views.snapshots import view_migration

    text = sys.stdin.read() if script == "-" else read_script(None, Path(script))
    with invocation_of(context).app("postgres rehearse") as app:
        spec = build_branch_spec(app.defaults, name="rehearsal", ttl="1h")

        def run(deadline: Deadline) -> MigrationReport:
            with ProgressTalk(quiet=quiet) as progress:
                return app.trials.rehearse(
                    instance, text, spec, apply=apply, progress=progress, deadline=deadline
                )

        report = run_undoable(run)
    view = view_migration(report)
    show_migration(view, form, quiet=quiet)
    if not (report.applied or report.rehearsal).succeeded:
        raise typer.Exit(FAILURE)
