"""`dev-postgres-mcp postgres run`: a command with an instance of its own, which is gone when the command has ended."""

from __future__ import annotations

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
from dev_postgres_mcp.cli.render import talk_kept
from dev_postgres_mcp.cli.signals import run_undoable
from dev_postgres_mcp.model import Keep
from dev_postgres_mcp.parsing import parse_pairs

if TYPE_CHECKING:
    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.instances.runs import Run
    from dev_postgres_mcp.model import Conninfo

RUN_EXAMPLES = """\b
Examples:
  dev-postgres-mcp postgres run -- pytest
  dev-postgres-mcp postgres run --version 16 --init schema.sql -- ./manage.py test
  dev-postgres-mcp postgres run --keep on-failure -- npm test
  dev-postgres-mcp postgres run -- sh -c 'psql "$DATABASE_URL" -c "select version()"'"""


def run(
    context: typer.Context,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="What to run.")],
    *,
    keep: Annotated[Keep, typer.Option(help="When not to drop the instance afterwards.")] = Keep.NEVER,
    version: Version = None,
    image: Image = None,
    name: Name = None,
    database: Database = None,
    username: Username = None,
    memory: Memory = None,
    cpus: Cpus = None,
    label: Labels = None,
    extension: Extensions = None,
    setting: Settings = None,
    init: Init = None,
    seed: Seed = None,
    ttl: Ttl = None,
    idle_timeout: IdleTimeout = None,
    quiet: QuietOption = False,
) -> None:
    """Run a command with DATABASE_URL and PG* of a new instance, then drop that.  The exit code is the command's own.

    Should we be killed, the instance ends after an hour without a client (--idle-timeout).
    """
    from dev_postgres_mcp.cli.children import check_command, run_command
    from dev_postgres_mcp.instances import build_spec
    from dev_postgres_mcp.instances.runs import prepare_defaults, run_with_instance

    check_command(command)
    with invocation_of(context).app("postgres run") as app:
        spec = build_spec(
            prepare_defaults(app.defaults),
            version=version,
            image=image,
            name=name,
            database=database,
            username=username,
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

        def work(deadline: Deadline) -> Run:
            with ProgressTalk(quiet=quiet) as progress:

                def start(conninfo: Conninfo) -> int:
                    progress.stop()
                    return run_command(command, conninfo.environment(), deadline)

                return run_with_instance(
                    app.manager, spec, start, keep=keep, progress=progress, deadline=deadline
                )

        done = run_undoable(work)
    if done.kept:
        talk_kept(done.instance.id)
    raise typer.Exit(done.code)
