"""`dev-postgres-mcp postgres pool ...`: the warm pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dev_postgres_mcp.cli.groups import make_group
from dev_postgres_mcp.cli.invocation import invocation_of
from dev_postgres_mcp.cli.options import FormatOption, OutputFormat, QuietOption
from dev_postgres_mcp.cli.progress import ProgressTalk
from dev_postgres_mcp.cli.signals import run_undoable
from dev_postgres_mcp.cli.tables import show_pool

if TYPE_CHECKING:
    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import PoolStatus
    from dev_postgres_mcp.views.upkeep import PoolView

pool_app = make_group()


@pool_app.command("status", epilog="\b\nExample:\n  dev-postgres-mcp postgres pool status")
def status(
    context: typer.Context, *, form: FormatOption = OutputFormat.TABLE, quiet: QuietOption = False
) -> None:
    """Show the spares that wait to be claimed."""
    from dev_postgres_mcp.views.upkeep import view_pool

    with invocation_of(context).app("postgres pool status") as app:
        view = view_pool(app.pool.status())
    _show(view, form, quiet=quiet)


@pool_app.command("fill", epilog="\b\nExample:\n  dev-postgres-mcp postgres pool fill --size 3 --ttl 30m")
def fill(
    context: typer.Context,
    *,
    size: Annotated[
        int | None, typer.Option(help="How many; the setting pool_size without.", min=1, max=100)
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long they wait for somebody.", metavar="DURATION")] = "10m",
    form: FormatOption = OutputFormat.TABLE,
    quiet: QuietOption = False,
) -> None:
    """Start spares; an absent image is pulled.  Without a server that keeps them they end after the ttl."""
    from dev_postgres_mcp.errors import InvalidInput
    from dev_postgres_mcp.parsing import parse_duration
    from dev_postgres_mcp.views.upkeep import view_pool

    with invocation_of(context).app("postgres pool fill") as app:
        seconds = parse_duration(ttl, what="ttl")
        if seconds is None:
            raise InvalidInput("a spare has to end when nobody claims it", hint="give a ttl such as 30m")

        def make(deadline: Deadline) -> PoolStatus:
            with ProgressTalk(quiet=quiet) as progress:
                return app.pool.fill(size, seconds=seconds, progress=progress, deadline=deadline)

        run_undoable(make, then=lambda made: _show(view_pool(made), form, quiet=quiet))


@pool_app.command("drain", epilog="\b\nExample:\n  dev-postgres-mcp postgres pool drain")
def drain(context: typer.Context, *, quiet: QuietOption = False) -> None:
    """Remove the spares; a server that keeps a pool fills it again."""
    from dev_postgres_mcp.cli.render import show_text

    with invocation_of(context).app("postgres pool drain") as app:
        drained = app.pool.drain()
    if not quiet:
        for instance_id in drained:
            show_text(instance_id)


def _show(view: PoolView, form: OutputFormat, *, quiet: bool) -> None:
    """Write the spares, and tell why there is none to claim."""
    from dev_postgres_mcp.cli.render import talk

    show_pool(view, form, quiet=quiet)
    if view.reason is not None and form is OutputFormat.TABLE and not quiet:
        talk(f"nothing to claim: {view.reason}")
