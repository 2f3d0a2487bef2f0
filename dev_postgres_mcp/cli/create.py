"""`dev-postgres-mcp postgres create`: everything that can be asked of a new instance, one option each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dev_postgres_mcp.cli.invocation import invocation_of
from dev_postgres_mcp.cli.options import (
    Cpus,
    Database,
    Extensions,
    IdleTimeout,
    Image,
    Init,
    InstanceFormat,
    InstanceFormatOption,
    Labels,
    Memory,
    Name,
    QuietOption,
    Seed,
    Settings,
    Ttl,
    Username,
    Version,
)
from dev_postgres_mcp.cli.progress import ProgressTalk
from dev_postgres_mcp.cli.render import show_instance
from dev_postgres_mcp.cli.signals import run_undoable
from dev_postgres_mcp.errors import InvalidInput
from dev_postgres_mcp.model import Secret
from dev_postgres_mcp.parsing import parse_pairs

if TYPE_CHECKING:
    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Instance

MAX_PASSWORD_FILE = 4096

CREATE_EXAMPLES = """\b
Examples:
  dev-postgres-mcp postgres create
  dev-postgres-mcp postgres create --version 16 --name shop-tests --memory 1g
  dev-postgres-mcp postgres create --image pgvector/pgvector:pg17 --extension vector
  dev-postgres-mcp postgres create --init schema.sql -c work_mem=64MB
  dev-postgres-mcp postgres create --ttl 2h --idle-timeout 30m
  DATABASE_URL=$(dev-postgres-mcp postgres create --format url)
  eval "$(dev-postgres-mcp postgres create --format env)" && psql"""

PasswordFile = Annotated[
    str | None,
    typer.Option(help="File with the password, - for stdin; a random one is made without.", metavar="FILE"),
]


def create(
    context: typer.Context,
    *,
    version: Version = None,
    image: Image = None,
    name: Name = None,
    database: Database = None,
    username: Username = None,
    password_file: PasswordFile = None,
    memory: Memory = None,
    cpus: Cpus = None,
    label: Labels = None,
    extension: Extensions = None,
    setting: Settings = None,
    init: Init = None,
    seed: Seed = None,
    ttl: Ttl = None,
    idle_timeout: IdleTimeout = None,
    form: InstanceFormatOption = InstanceFormat.TABLE,
    quiet: QuietOption = False,
) -> None:
    """Create a server and wait until it accepts logins."""
    from dev_postgres_mcp.instances import build_spec
    from dev_postgres_mcp.views.instances import view_instance

    with invocation_of(context).app("postgres create") as app:
        spec = build_spec(
            app.defaults,
            version=version,
            image=image,
            name=name,
            database=database,
            username=username,
            password=_read_password(password_file),
            memory=memory,
            cpus=cpus,
            labels=parse_pairs(label or (), what="label"),
            extensions=extension or (),
            settings=parse_pairs(setting or (), what="PostgreSQL setting"),
            init=init,
            seed=seed,
            ttl=ttl,
            idle_timeout=idle_timeout,
        )

        def make(deadline: Deadline) -> Instance:
            with ProgressTalk(quiet=quiet) as progress:
                return app.manager.create(spec, progress=progress, deadline=deadline)

        def tell(instance: Instance) -> None:
            show_instance(view_instance(instance), instance.conninfo, form, quiet=quiet)

        run_undoable(make, then=tell)


def _read_password(source: str | None) -> Secret | None:
    if source is None:
        return None
    try:
        text = (
            sys.stdin.read(MAX_PASSWORD_FILE) if source == "-" else Path(source).read_text(encoding="utf-8")
        )
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidInput(f"the password file {source} cannot be read", hint="name a text file") from exc
    return Secret(text.removesuffix("\n").removesuffix("\r"))
