"""Options and arguments that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
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
Version = Annotated[str | None, typer.Option(help="PostgreSQL major version: 14 to 18.", metavar="VERSION")]
Image = Annotated[
    str | None, typer.Option(help="Image made from the official one, instead.", metavar="IMAGE")
]
Name = Annotated[str | None, typer.Option(help="Display name.", metavar="NAME")]
Database = Annotated[str | None, typer.Option("--database", "-d", help="Database to create.", metavar="NAME")]
Username = Annotated[
    str | None, typer.Option("--username", "-U", help="Superuser to create.", metavar="NAME")
]
Memory = Annotated[str | None, typer.Option(help="Memory limit, such as 512m or 2g.", metavar="SIZE")]
Cpus = Annotated[float | None, typer.Option(help="CPU limit in cores.", metavar="CORES")]
Labels = Annotated[list[str] | None, typer.Option(help="Label to keep; repeatable.", metavar="NAME=VALUE")]
Extensions = Annotated[
    list[str] | None, typer.Option(help="Extension to create; repeatable.", metavar="NAME")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--setting", "-c", help="PostgreSQL setting; repeatable.", metavar="NAME=VALUE"),
]
Init = Annotated[
    Path | None,
    typer.Option(help="A .sql, .sql.gz or .sh file, or a directory of them, to run once.", metavar="PATH"),
]
Seed = Annotated[
    str | None, typer.Option(help="Start with the data of a seed (`image prepare`).", metavar="NAME")
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
