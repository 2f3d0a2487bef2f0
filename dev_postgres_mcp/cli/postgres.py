"""`dev-postgres-mcp postgres ...`: the verbs on instances, one command each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dev_postgres_mcp.cli.exits import FAILURE
from dev_postgres_mcp.cli.invocation import invocation_of
from dev_postgres_mcp.cli.options import (
    FormatOption,
    InstanceArgument,
    InstanceFormat,
    InstanceFormatOption,
    OutputFormat,
    QuietOption,
    complete_instance,
)
from dev_postgres_mcp.cli.progress import ProgressTalk
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
from dev_postgres_mcp.cli.signals import run_undoable
from dev_postgres_mcp.errors import InvalidInput
from dev_postgres_mcp.model import Secret
from dev_postgres_mcp.parsing import parse_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Instance

MAX_PASSWORD_FILE = 4096

postgres_app = typer.Typer(
    help="Create, list, inspect and drop throwaway PostgreSQL servers.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@postgres_app.command(
    "create",
    epilog="""\b
Examples:
  dev-postgres-mcp postgres create
  dev-postgres-mcp postgres create --version 16 --name shop-tests --memory 1g
  dev-postgres-mcp postgres create --image pgvector/pgvector:pg17 --extension vector
  dev-postgres-mcp postgres create --init schema.sql -c work_mem=64MB
  DATABASE_URL=$(dev-postgres-mcp postgres create --format url)
  eval "$(dev-postgres-mcp postgres create --format env)" && psql""",
)
def create(
    context: typer.Context,
    *,
    version: Annotated[
        str | None, typer.Option(help="PostgreSQL major version: 14 to 18.", metavar="VERSION")
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Image made from the official one, instead.", metavar="IMAGE")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Display name.", metavar="NAME")] = None,
    database: Annotated[
        str | None, typer.Option("--database", "-d", help="Database to create.", metavar="NAME")
    ] = None,
    username: Annotated[
        str | None, typer.Option("--username", "-U", help="Superuser to create.", metavar="NAME")
    ] = None,
    password_file: Annotated[
        str | None,
        typer.Option(
            help="File with the password, - for stdin; a random one is made without.", metavar="FILE"
        ),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Memory limit, such as 512m or 2g.", metavar="SIZE")
    ] = None,
    cpus: Annotated[float | None, typer.Option(help="CPU limit in cores.", metavar="CORES")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Label to keep; repeatable.", metavar="NAME=VALUE")
    ] = None,
    extension: Annotated[
        list[str] | None, typer.Option(help="Extension to create; repeatable.", metavar="NAME")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--setting", "-c", help="PostgreSQL setting; repeatable.", metavar="NAME=VALUE"),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            help="A .sql, .sql.gz or .sh file, or a directory of them, to run once.", metavar="PATH"
        ),
    ] = None,
    form: InstanceFormatOption = InstanceFormat.TABLE,
    quiet: QuietOption = False,
) -> None:
    """Create a server and wait until it accepts logins."""
    from dev_postgres_mcp.instances import build_spec
    from dev_postgres_mcp.views import view_instance

    def tell(instance: Instance) -> None:
        show_instance(view_instance(instance), instance.conninfo, form, quiet=quiet)

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
        )

        def make(deadline: Deadline) -> Instance:
            with ProgressTalk(quiet=quiet) as progress:
                return app.manager.create(spec, progress=progress, deadline=deadline)

        run_undoable(make, then=tell)


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
    from dev_postgres_mcp.views import view_list

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
    from dev_postgres_mcp.views import view_instance

    with invocation_of(context).app("postgres get") as app:
        found = app.manager.get(instance)
    show_instance(view_instance(found), found.conninfo, form, quiet=quiet)


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
    from dev_postgres_mcp.views import view_drops

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
    from dev_postgres_mcp.views import view_health

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
