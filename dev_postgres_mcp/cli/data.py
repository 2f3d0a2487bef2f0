"""`dev-postgres-mcp data ...`: what is done in databases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dev_postgres_mcp.cli.exits import FAILURE
from dev_postgres_mcp.cli.groups import make_group
from dev_postgres_mcp.cli.invocation import invocation_of
from dev_postgres_mcp.cli.options import FormatOption, OutputFormat, QuietOption, complete_instance
from dev_postgres_mcp.cli.render import show_verdicts
from dev_postgres_mcp.cli.signals import run_undoable

if TYPE_CHECKING:
    from dev_postgres_mcp.guard.judging import Guard

data_app = make_group()


@data_app.callback()
def _data() -> None:
    """Keep `check` a command of a group, also while it is the only one."""


@data_app.command(
    "check",
    epilog="""\b
Examples:
  dev-postgres-mcp data check "SELECT * FROM orders LIMIT 10"
  dev-postgres-mcp data check --target k7m "SELECT my_function(1)"
  dev-postgres-mcp data check --file statements.jsonl --format json""",
)
def check(
    context: typer.Context,
    sql: Annotated[str | None, typer.Argument(metavar="SQL", help="One statement.")] = None,
    *,
    file: Annotated[
        Path | None, typer.Option(help="JSON objects, one a line, each with `sql`.", metavar="FILE")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="The instance whose functions, types and views count.",
            metavar="INSTANCE",
            autocompletion=complete_instance,
        ),
    ] = None,
    version: Annotated[
        int,
        typer.Option(help="PostgreSQL major version without a target.", metavar="VERSION", min=14, max=18),
    ] = 17,
    form: FormatOption = OutputFormat.TABLE,
    quiet: QuietOption = False,
) -> None:
    """Tell whether SQL may run for a reader, and why not.  Runs nothing.

    The exit code is 1 when the one statement may not; 0 when it may, and for a file.
    """
    from dev_postgres_mcp.databases.checking import read_statements
    from dev_postgres_mcp.errors import InvalidInput

    if (sql is None) == (file is None):
        raise InvalidInput("give one statement, or a file of them", hint='data check "SELECT 1"')
    statements = [sql] if sql is not None else read_statements(file or Path())
    guard = _open_guard(context, target, version)
    verdicts = [(statement, guard.judge(statement)) for statement in statements]
    if not quiet or form is OutputFormat.JSON:
        show_verdicts(verdicts, form)
    if sql is not None and not verdicts[0][1].admitted:
        raise typer.Exit(FAILURE)


def _open_guard(context: typer.Context, target: str | None, version: int) -> Guard:
    from dev_postgres_mcp.databases.checking import open_offline_guard

    if target is None:
        return open_offline_guard(version)
    with invocation_of(context).app("data check") as app:
        return run_undoable(lambda deadline: app.checker.open_guard(target, deadline=deadline))
