"""The least that a program with Typer can be: what our start-up is measured beside."""

from __future__ import annotations

import typer

# As ours: plain help and plain errors, which is also what starts quickest.
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def version() -> None:
    """Show the version."""
    typer.echo("bare 1.0.0")


@app.callback()
def root() -> None:
    """Do next to nothing."""


if __name__ == "__main__":
    app()
