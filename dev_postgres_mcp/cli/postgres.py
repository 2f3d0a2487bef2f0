"""`dev-postgres-mcp postgres ...`: the verbs on instances, one command each."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from dev_postgres_mcp.cli.create import CREATE_EXAMPLES, create
from dev_postgres_mcp.cli.env_files import WRITE_ENV_EXAMPLES, write_env
from dev_postgres_mcp.cli.exits import FAILURE
from dev_postgres_mcp.cli.groups import hang_later, make_group
from dev_postgres_mcp.cli.invocation import invocation_of
from dev_postgres_mcp.cli.options import (
    FormatOption,
    IdleTimeout,
    InstanceArgument,
    InstanceFormat,
    InstanceFormatOption,
    OutputFormat,
    QuietOption,
    Ttl,
    complete_instance,
)
from dev_postgres_mcp.cli.render import (
    printable,
    show_drops,
    show_health,
    show_instance,
    show_lines,
    show_list,
    show_text,
    talk,
)
from dev_postgres_mcp.cli.run import RUN_EXAMPLES, run
from dev_postgres_mcp.cli.snapshots import (
    BRANCH_EXAMPLES,
    REHEARSE_EXAMPLES,
    RESTORE_EXAMPLES,
    TRY_EXAMPLES,
    branch,
    rehearse,
    restore,
    try_,
)
from dev_postgres_mcp.cli.tables import show_sweep
from dev_postgres_mcp.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence


postgres_app = make_group()


postgres_app.command("create", epilog=CREATE_EXAMPLES)(create)
postgres_app.command("run", epilog=RUN_EXAMPLES)(run)
postgres_app.command("write-env", epilog=WRITE_ENV_EXAMPLES)(write_env)
postgres_app.command("branch", epilog=BRANCH_EXAMPLES)(branch)
postgres_app.command("restore", epilog=RESTORE_EXAMPLES)(restore)
postgres_app.command("try", epilog=TRY_EXAMPLES)(try_)
postgres_app.command("rehearse", epilog=REHEARSE_EXAMPLES)(rehearse)


@hang_later(postgres_app, "snapshot")
def _snapshot() -> typer.Typer:
    """Take, list and delete snapshots."""
    from dev_postgres_mcp.cli.snapshots import snapshot_app

    return snapshot_app


@hang_later(postgres_app, "pool")
def _pool() -> typer.Typer:
    """Look at the warm pool, fill it or drain it."""
    from dev_postgres_mcp.cli.pool import pool_app

    return pool_app


@postgres_app.command(
    "list",
    epilog="""\b
Examples:
  dev-postgres-mcp postgres list
  dev-postgres-mcp postgres list --format json
  dev-postgres-mcp postgres list -q""",
)
def list_(
    context: typer.Context, *, form: FormatOption = OutputFormat.TABLE, quiet: QuietOption = False
) -> None:
    """List every instance on the engine, without passwords."""
    from dev_postgres_mcp.views.instances import view_list

    with invocation_of(context).app("postgres list") as app:
        view = view_list(app.manager.list())
    show_list(view, form, quiet=quiet)


@postgres_app.command(
    "get",
    epilog="""\b
Examples:
  dev-postgres-mcp postgres get k7m
  dev-postgres-mcp postgres get shop-tests --format url
  eval "$(dev-postgres-mcp postgres get k7m --format env)\"""",
)
def get(
    context: typer.Context,
    instance: InstanceArgument,
    *,
    form: InstanceFormatOption = InstanceFormat.TABLE,
    quiet: QuietOption = False,
) -> None:
    """Show one instance with its password, as it stands now."""
    from dev_postgres_mcp.views.instances import view_instance

    with invocation_of(context).app("postgres get") as app:
        found = app.manager.get(instance)
    show_instance(view_instance(found), found.conninfo, form, quiet=quiet)


@postgres_app.command(
    "extend",
    epilog="""\b
Examples:
  dev-postgres-mcp postgres extend k7m --ttl 8h
  dev-postgres-mcp postgres extend k7m --idle-timeout none""",
)
def extend(
    context: typer.Context,
    instance: InstanceArgument,
    *,
    ttl: Ttl = None,
    idle_timeout: IdleTimeout = None,
    form: InstanceFormatOption = InstanceFormat.TABLE,
    quiet: QuietOption = False,
) -> None:
    """Let an instance live until a time from now, or change after how much idle time it ends."""
    from dev_postgres_mcp.views.instances import view_instance

    with invocation_of(context).app("postgres extend") as app:
        found = app.manager.extend(instance, ttl=ttl, idle_timeout=idle_timeout)
    show_instance(view_instance(found), found.conninfo, form, quiet=quiet)


@postgres_app.command(
    "sweep",
    epilog="\b\nExamples:\n  dev-postgres-mcp postgres sweep --dry-run\n  dev-postgres-mcp postgres sweep",
)
def sweep(
    context: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look.")] = False,
    form: FormatOption = OutputFormat.TABLE,
    quiet: QuietOption = False,
) -> None:
    """Remove what is over and the engine could not remove by itself.  Every command does so now and then."""
    from dev_postgres_mcp.views.upkeep import view_sweep

    with invocation_of(context).app("postgres sweep") as app:
        view = view_sweep(app.sweeper.sweep(dry_run=dry_run), dry_run=dry_run)
    show_sweep(view, form, quiet=quiet)


@postgres_app.command(
    "drop",
    epilog="""\b
Examples:
  dev-postgres-mcp postgres drop k7m shop-tests
  dev-postgres-mcp postgres drop --all --force""",
)
def drop(
    context: typer.Context,
    instances: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INSTANCE]...",
            help="Ids, unique prefixes, names or container ids.",
            autocompletion=complete_instance,
        ),
    ] = None,
    *,
    all_: Annotated[bool, typer.Option("--all", help="Every instance on the engine.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Do not ask.")] = False,
    form: FormatOption = OutputFormat.TABLE,
    quiet: QuietOption = False,
) -> None:
    """Drop instances with all they hold.  What is gone already is no error."""
    from dev_postgres_mcp.views.instances import view_drops

    if bool(instances) == all_:
        raise InvalidInput("name the instances to drop, or give --all", hint="`postgres list` shows them")
    with invocation_of(context).app("postgres drop") as app:
        manager = app.manager
        if sys.stdin.isatty() and not force:
            _confirm(manager.name_all(instances or manager.complete("")))
        view = view_drops(manager.drop_all() if all_ else manager.drop(instances or ()))
    show_drops(view, form, quiet=quiet)


@postgres_app.command(
    "health-check",
    epilog="""\b
Examples:
  dev-postgres-mcp postgres health-check k7m
  dev-postgres-mcp postgres health-check k7m -q && echo up""",
)
def health_check(
    context: typer.Context,
    instance: InstanceArgument,
    *,
    form: FormatOption = OutputFormat.TABLE,
    quiet: QuietOption = False,
) -> None:
    """Log in and query.  Exit code 0 when healthy, 1 when not."""
    from dev_postgres_mcp.views.instances import view_health

    with invocation_of(context).app("postgres health-check") as app:
        view = view_health(app.manager.health_check(instance))
    if form is OutputFormat.JSON or not quiet:
        show_health(view, form)
    if not view.healthy:
        raise typer.Exit(FAILURE)


@postgres_app.command(
    "logs",
    epilog="""\b
Examples:
  dev-postgres-mcp postgres logs k7m
  dev-postgres-mcp postgres logs k7m --tail 10""",
)
def logs(
    context: typer.Context,
    instance: InstanceArgument,
    *,
    tail: Annotated[int, typer.Option(help="How many lines from the end.", min=1)] = 100,
    form: FormatOption = OutputFormat.TABLE,
    quiet: QuietOption = False,
) -> None:
    """Show the end of the server's log."""
    with invocation_of(context).app("postgres logs") as app:
        text = app.manager.logs(instance, tail=tail)
    if form is OutputFormat.JSON:
        show_lines(text)
    elif text:
        show_text(text)
    elif not quiet:
        talk("the log is empty")


@postgres_app.command(
    "psql",
    context_settings={"allow_interspersed_args": False},
    epilog="""\b
Examples:
  dev-postgres-mcp postgres psql k7m
  dev-postgres-mcp postgres psql k7m -- -c 'select 1'
  echo 'select 1' | dev-postgres-mcp postgres psql k7m""",
)
def psql(
    context: typer.Context,
    instance: InstanceArgument,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGUMENT...]", help="Arguments for psql.")
    ] = None,
) -> None:
    """Open the server's own psql over TCP.  The exit code is psql's."""
    from dev_postgres_mcp.cli.children import run_psql

    with invocation_of(context).app("postgres psql") as app:
        command = app.manager.psql(instance)
    words = arguments or []
    raise typer.Exit(run_psql(command, words[1:] if words[:1] == ["--"] else words))


def _confirm(names: Sequence[str]) -> None:
    if names:
        listed = "".join(f"\n  {printable(name)}" for name in names)
        typer.confirm(f"This drops with all data:{listed}\nGo on?", abort=True, err=True)
