"""`dev-postgres-mcp doctor`: what stands between you and a working create, and what to do about it."""

from __future__ import annotations

import typer

from dev_postgres_mcp.cli.invocation import invocation_of
from dev_postgres_mcp.cli.options import FormatOption, OutputFormat, QuietOption

DOCTOR_EXAMPLES = "\b\nExamples:\n  dev-postgres-mcp doctor\n  dev-postgres-mcp doctor --format json"


def doctor(
    context: typer.Context, *, form: FormatOption = OutputFormat.TABLE, quiet: QuietOption = False
) -> None:
    """Look at engine, image, ports and memory.  Exit code 4 without an engine, 1 with another error."""
    from dev_postgres_mcp.cli.exits import FAILURE, exit_code
    from dev_postgres_mcp.cli.render import show_json, show_table, talk
    from dev_postgres_mcp.errors import EngineUnavailable
    from dev_postgres_mcp.views.instances import view_findings

    with invocation_of(context).app("doctor") as app:
        view = view_findings(app.diagnose())
    if form is OutputFormat.JSON:
        show_json(view)
    else:
        rows = [(finding.verdict, finding.check, finding.detail) for finding in view.findings]
        show_table(("VERDICT", "CHECK", "FOUND"), rows)
    for finding in view.findings:
        if finding.remedy and not quiet:
            talk(f"{finding.check}: {finding.remedy}")
    if not view.healthy:
        no_engine = any(finding.check == "engine" and finding.verdict == "error" for finding in view.findings)
        raise typer.Exit(exit_code(EngineUnavailable("")) if no_engine else FAILURE)
