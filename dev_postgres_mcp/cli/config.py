"""`dev-postgres-mcp config show`: every effective setting, and where it came from."""

from __future__ import annotations

import typer

from dev_postgres_mcp.cli.groups import make_group
from dev_postgres_mcp.cli.invocation import invocation_of
from dev_postgres_mcp.cli.options import FormatOption, OutputFormat, QuietOption
from dev_postgres_mcp.cli.render import show_json, show_table

config_app = make_group()


@config_app.command(
    "show",
    epilog="""\b
Examples:
  dev-postgres-mcp config show
  DEV_POSTGRES_MCP_MEMORY=1g dev-postgres-mcp config show --format json""",
)
def show(
    context: typer.Context, *, form: FormatOption = OutputFormat.TABLE, quiet: QuietOption = False
) -> None:
    """Show the effective value of each setting and where it came from; secrets as ***."""
    from dev_postgres_mcp.views.instances import view_settings

    loaded = invocation_of(context).load()
    view = view_settings(loaded.shown(), loaded.origins)
    if form is OutputFormat.JSON:
        show_json(view)
    elif quiet:
        show_table(("SETTING", "VALUE"), [(setting.name, setting.value) for setting in view.settings])
    else:
        rows = [(setting.name, setting.value, setting.origin) for setting in view.settings]
        show_table(("SETTING", "VALUE", "FROM"), rows)
