"""Options and arguments that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from dev_postgres_mcp.cli.invocation import invocation_of


class OutputFormat(StrEnum):
    """How data is written on stdout."""

    TABLE = "table"
    JSON = "json"


class InstanceFormat(StrEnum):
    """How one instance is written on stdout."""

    TABLE = "table"
    JSON = "json"
    URL = "url"
    ENV = "env"


def complete_instance(context: typer.Context, incomplete: str) -> list[str]:
    """Offer the ids of instances to the shell; offers nothing when there is no engine."""
    from dev_postgres_mcp.errors import DevPostgresError

    try:
        with invocation_of(context).app("completion") as app:
            return list(app.manager.complete(incomplete))
    except DevPostgresError:
        return []


FormatOption = Annotated[OutputFormat, typer.Option("--format", "-f", help="How to write data on stdout.")]
InstanceFormatOption = Annotated[
    InstanceFormat, typer.Option("--format", "-f", help="How to write the instance on stdout.")
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="No talk on stderr; of a table only the ids.")
]
Ttl = Annotated[
    str | None,
    typer.Option(help="Lifetime from now, such as 90s, 8h, 2d or none.", metavar="DURATION"),
]
IdleTimeout = Annotated[
    str | None,
    typer.Option(help="End after this time without a client, such as 30m or none.", metavar="DURATION"),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Do not ask; drop what stands in the way.")]
InstanceArgument = Annotated[
    str,
    typer.Argument(
        metavar="INSTANCE",
        help="Id, unique prefix of it, name or container id.",
        autocompletion=complete_instance,
    ),
]
