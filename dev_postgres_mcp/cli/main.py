"""The program: its commands, and the one place where an error becomes a text and an exit code."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from dev_postgres_mcp import __version__
from dev_postgres_mcp.cli.collecting import collect_rarely
from dev_postgres_mcp.cli.doctor import DOCTOR_EXAMPLES, doctor
from dev_postgres_mcp.cli.exits import exit_code
from dev_postgres_mcp.cli.groups import hang_later
from dev_postgres_mcp.cli.invocation import Invocation
from dev_postgres_mcp.cli.options import FormatOption, OutputFormat, QuietOption
from dev_postgres_mcp.cli.signals import ignore_signals
from dev_postgres_mcp.errors import DevPostgresError

EPILOG = """\b
Examples:
  dev-postgres-mcp postgres create
  DATABASE_URL=$(dev-postgres-mcp postgres create --format url)
  dev-postgres-mcp postgres list
  dev-postgres-mcp postgres try k7m -- ./migrate.sh
  dev-postgres-mcp mcp config claude-code

\b
Exit codes:
  0  ok
  1  failure
  2  usage, bad input or configuration
  3  not found
  4  engine unavailable
  5  a ceiling or the port range is reached
  6  image unavailable
  7  the server did not become ready
  128+n  ended by signal n"""

app = typer.Typer(
    name="dev-postgres-mcp",
    help="A throwaway PostgreSQL for every agent, shell and test run.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.command("doctor", epilog=DOCTOR_EXAMPLES)(doctor)


@hang_later(app, "postgres")
def _postgres() -> typer.Typer:
    """Create, list, inspect and drop throwaway PostgreSQL servers."""
    from dev_postgres_mcp.cli.postgres import postgres_app

    return postgres_app


@hang_later(app, "data")
def _data() -> typer.Typer:
    """Look into databases without changing them."""
    from dev_postgres_mcp.cli.data import data_app

    return data_app


@hang_later(app, "image")
def _image() -> typer.Typer:
    """Prepare images, so that instances start in a fraction of a second."""
    from dev_postgres_mcp.cli.images import images_app

    return images_app


@hang_later(app, "mcp")
def _mcp() -> typer.Typer:
    """Serve MCP, and print the configuration of MCP clients."""
    from dev_postgres_mcp.cli.mcp import mcp_app

    return mcp_app


@hang_later(app, "config")
def _config() -> typer.Typer:
    """Show the configuration."""
    from dev_postgres_mcp.cli.config import config_app

    return config_app


@app.command("version", epilog="\b\nExample:\n  dev-postgres-mcp version --format json")
def version(*, form: FormatOption = OutputFormat.TABLE, quiet: QuietOption = False) -> None:
    """Show the version of this program."""
    from dev_postgres_mcp.cli.render import show_version

    show_version(__version__, form, quiet=quiet)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        from dev_postgres_mcp.cli.render import show_version

        show_version(__version__, OutputFormat.TABLE, quiet=False)
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    *,
    config: Annotated[Path | None, typer.Option(help="YAML file with settings.", metavar="FILE")] = None,
    env_file: Annotated[
        Path | None, typer.Option(help="File with DEV_POSTGRES_MCP_* lines.", metavar="FILE")
    ] = None,
    runtime: Annotated[str | None, typer.Option(help="auto, docker or embedded.", metavar="RUNTIME")] = None,
    docker_host: Annotated[
        str | None, typer.Option(help="Address of the Docker engine.", metavar="URL")
    ] = None,
    ports: Annotated[str | None, typer.Option(help="Host ports to publish on.", metavar="FIRST-LAST")] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error.", metavar="LEVEL")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json.", metavar="FORM")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting; repeatable.", metavar="NAME=VALUE")
    ] = None,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """A throwaway PostgreSQL for every agent, shell and test run."""
    from dev_postgres_mcp.parsing import parse_pairs

    flags = {
        "runtime": runtime,
        "docker_host": docker_host,
        "ports": ports,
        "log_level": log_level,
        "log_format": log_format,
    }
    given: dict[str, object] = {name: value for name, value in flags.items() if value is not None}
    invocation = Invocation(
        arguments=given | parse_pairs(set_ or (), what="program setting"), config=config, env_file=env_file
    )
    context.obj = invocation
    context.call_on_close(invocation.close)


def main() -> None:
    """Run the program; never returns.  Typer answers for usage, Ctrl-C and a reader of stdout that has gone."""
    collect_rarely()
    try:
        app(prog_name="dev-postgres-mcp")
    except DevPostgresError as exc:
        from dev_postgres_mcp.cli.render import talk

        talk(f"error: {exc.explain()}")
        sys.exit(exit_code(exc))
    finally:
        ignore_signals()
        # What is left goes with the process: the interpreter need not look through all of it for cycles first.
        gc.freeze()
