"""`dev-postgres-mcp mcp ...`: serve the tools, and tell a client how to start them."""

from __future__ import annotations

import shutil
import sys
from enum import StrEnum
from typing import Annotated

import typer

from dev_postgres_mcp.cli.clients import Client, render_snippet
from dev_postgres_mcp.cli.groups import make_group
from dev_postgres_mcp.cli.invocation import invocation_of
from dev_postgres_mcp.cli.options import FormatOption, OutputFormat, QuietOption
from dev_postgres_mcp.cli.render import show_pairs, show_text, talk

mcp_app = make_group()


class OnExit(StrEnum):
    """What becomes of a session's instances when the server ends."""

    KEEP = "keep"
    DROP = "drop"


@mcp_app.command(
    "serve",
    epilog="\b\nExamples:\n  dev-postgres-mcp mcp serve\n  dev-postgres-mcp mcp serve --on-exit drop",
)
def serve(
    context: typer.Context,
    *,
    on_exit: Annotated[
        OnExit, typer.Option(help="Keep this session's instances until their leases end, or drop them.")
    ] = OnExit.KEEP,
) -> None:
    """Serve the tools over stdin and stdout until stdin ends or a signal comes; logs go to stderr."""
    from dev_postgres_mcp.cli.collecting import collect_as_usual
    from dev_postgres_mcp.parsing import new_id
    from dev_postgres_mcp.server import Session, Workers, build_server, serve_stdio

    with invocation_of(context).app("mcp serve", session=f"mcp-{new_id()}", serving=True) as app:
        workers, session = Workers(), Session(app, drop_on_exit=on_exit is OnExit.DROP)
        collect_as_usual()
        serve_stdio(build_server(app, workers, session), workers, session)


@mcp_app.command(
    "config",
    epilog="""\b
Examples:
  dev-postgres-mcp mcp config claude-code
  dev-postgres-mcp mcp config vscode > .vscode/mcp.json""",
)
def config(
    client: Annotated[Client, typer.Argument(help="The MCP client.")],
    *,
    form: FormatOption = OutputFormat.TABLE,
    quiet: QuietOption = False,
) -> None:
    """Print the ready snippet for an MCP client."""
    snippet = render_snippet(client, [*_own_command(), "mcp", "serve"])
    if form is OutputFormat.JSON:
        show_pairs({"client": client.value, "place": snippet.place, "snippet": snippet.text}, form)
        return
    if not quiet:
        talk(f"{client.value}: {snippet.place}")
    show_text(snippet.text)


def _own_command() -> list[str]:
    """Return how to start this program from anywhere: clients with a window do not see a shell's PATH."""
    program = shutil.which("dev-postgres-mcp")
    return [program] if program else [sys.executable, "-m", "dev_postgres_mcp"]
