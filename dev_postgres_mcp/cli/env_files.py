"""`dev-postgres-mcp postgres write-env`: an instance's variables in a project's `.env`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dev_postgres_mcp.cli.invocation import invocation_of
from dev_postgres_mcp.cli.options import InstanceArgument, QuietOption
from dev_postgres_mcp.cli.render import talk

WRITE_ENV_EXAMPLES = """\b
Examples:
  dev-postgres-mcp postgres write-env k7m
  dev-postgres-mcp postgres write-env k7m config/test.env"""


def write_env(
    context: typer.Context,
    instance: InstanceArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file; made when it is not there.")] = Path(
        ".env"
    ),
    *,
    quiet: QuietOption = False,
) -> None:
    """Write DATABASE_URL and PG* of an instance into a .env file; its other lines stay as they are."""
    from dev_postgres_mcp.env_files import write_variables
    from dev_postgres_mcp.instances.runs import conninfo_of

    with invocation_of(context).app("postgres write-env") as app:
        found = app.manager.get(instance)
    variables = conninfo_of(found).environment()
    write_variables(file, variables)
    if not quiet:
        talk(f"wrote {', '.join(variables)} of {found.id} to {file}")
        _warn(file)


def _warn(file: Path) -> None:
    """Say who else may see the password in the file."""
    from dev_postgres_mcp.cli.children import would_be_committed
    from dev_postgres_mcp.env_files import is_readable_by_others

    if would_be_committed(file.resolve()):
        talk(f"warning: git does not ignore {file}, and it holds a password: add it to .gitignore")
    if is_readable_by_others(file):
        talk(f"warning: other users can read {file}, and it holds a password: chmod 600 {file}")
