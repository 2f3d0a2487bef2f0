"""`dev-postgres-mcp image ...`: prepared images and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dev_postgres_mcp.cli.groups import make_group
from dev_postgres_mcp.cli.invocation import invocation_of
from dev_postgres_mcp.cli.options import FormatOption, OutputFormat, QuietOption
from dev_postgres_mcp.cli.progress import ProgressTalk
from dev_postgres_mcp.cli.signals import run_undoable
from dev_postgres_mcp.cli.tables import show_prepared

if TYPE_CHECKING:
    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import PreparedImage

images_app = make_group()


@images_app.command("list", epilog="\b\nExample:\n  dev-postgres-mcp image list")
def list_(
    context: typer.Context, *, form: FormatOption = OutputFormat.TABLE, quiet: QuietOption = False
) -> None:
    """List prepared images and seeds."""
    from dev_postgres_mcp.views.upkeep import view_prepared

    with invocation_of(context).app("image list") as app:
        view = view_prepared(app.images.list())
    show_prepared(view, form, quiet=quiet)


@images_app.command(
    "prepare",
    epilog="""\b
Examples:
  dev-postgres-mcp image prepare
  dev-postgres-mcp image prepare --version 16
  dev-postgres-mcp image prepare --seed shop --init ./schema""",
)
def prepare(
    context: typer.Context,
    *,
    version: Annotated[str | None, typer.Option(help="PostgreSQL major version.", metavar="VERSION")] = None,
    image: Annotated[str | None, typer.Option(help="Base image, instead.", metavar="IMAGE")] = None,
    seed: Annotated[str | None, typer.Option(help="Name of the data to bake in.", metavar="NAME")] = None,
    init: Annotated[
        Path | None,
        typer.Option(help="What makes the data: .sql, .sql.gz or .sh, or a directory.", metavar="PATH"),
    ] = None,
    form: FormatOption = OutputFormat.TABLE,
    quiet: QuietOption = False,
) -> None:
    """Make a prepared image ahead of time, or a seed: an image with data in it."""
    from dev_postgres_mcp.instances import build_spec
    from dev_postgres_mcp.parsing import check_seed
    from dev_postgres_mcp.views.upkeep import view_prepared

    with invocation_of(context).app("image prepare") as app:
        spec = build_spec(app.defaults, version=version, image=image, init=init)
        name = check_seed(seed) if seed is not None else ""

        def make(deadline: Deadline) -> PreparedImage:
            with ProgressTalk(quiet=quiet) as progress:
                return app.images.prepare(
                    spec.image, seed=name, init=spec.init, progress=progress, deadline=deadline
                )

        run_undoable(make, then=lambda made: show_prepared(view_prepared([made]), form, quiet=quiet))


@images_app.command(
    "prune",
    epilog="\b\nExamples:\n  dev-postgres-mcp image prune\n  dev-postgres-mcp image prune --all",
)
def prune(
    context: typer.Context,
    *,
    all_: Annotated[bool, typer.Option("--all", help="Fresh ones and seeds too.")] = False,
    form: FormatOption = OutputFormat.TABLE,
    quiet: QuietOption = False,
) -> None:
    """Remove prepared images whose base has changed.  What an instance stands on stays."""
    from dev_postgres_mcp.views.upkeep import view_prepared

    with invocation_of(context).app("image prune") as app:
        view = view_prepared(app.images.prune(everything=all_))
    show_prepared(view, form, quiet=quiet)
