"""What people and programs see: views as tables, JSON, URLs and shell variables on stdout; talk on stderr."""

from __future__ import annotations

import json
import platform
import shlex
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import zip_longest
from typing import TYPE_CHECKING

import typer

from dev_postgres_mcp.cli.options import InstanceFormat, OutputFormat
from dev_postgres_mcp.errors import ServerNotReady
from dev_postgres_mcp.parsing import render_duration, render_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import BaseModel

    from dev_postgres_mcp.guard.verdicts import Verdict
    from dev_postgres_mcp.model import Conninfo
    from dev_postgres_mcp.views.instances import (
        DropListView,
        HealthView,
        InstanceListView,
        InstanceView,
        ListedInstanceView,
    )

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def talk(text: str) -> None:
    """Say something to the person, on stderr."""
    typer.echo(text, err=True)


def talk_kept(instance_id: str) -> None:
    """Say how to connect to an instance that outlives a command, and how to drop it."""
    talk(f"kept {instance_id}")
    talk(f'  connect: psql "$(dev-postgres-mcp postgres get {instance_id} --format url)"')
    talk(f"  drop:    dev-postgres-mcp postgres drop {instance_id}")


def show_text(text: str) -> None:
    """Write a text as it is."""
    typer.echo(text)


def show_lines(text: str) -> None:
    """Write a log as JSON."""
    typer.echo(json.dumps({"lines": text.splitlines()}, indent=2, ensure_ascii=False))


def show_json(view: BaseModel) -> None:
    """Write the wire shape."""
    typer.echo(view.model_dump_json(indent=2))


def show_pairs(pairs: Mapping[str, object], form: OutputFormat) -> None:
    """Write a few named values."""
    if form is OutputFormat.JSON:
        typer.echo(json.dumps(dict(pairs), indent=2))
    else:
        _show_rows(None, [(name, str(value)) for name, value in pairs.items()])


def show_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table with a head."""
    _show_rows(heads, rows)


def show_version(version: str, form: OutputFormat, *, quiet: bool) -> None:
    """Write our version, with what it runs on in JSON."""
    if form is OutputFormat.JSON:
        about = {"version": version, "python": platform.python_version(), "platform": platform.platform()}
        typer.echo(json.dumps(about, indent=2))
    else:
        typer.echo(version if quiet else f"dev-postgres-mcp {version}")


def show_instance(
    view: InstanceView, conninfo: Conninfo | None, form: InstanceFormat, *, quiet: bool
) -> None:
    """Write one instance; url and env only of one that can be connected to, else ServerNotReady."""
    if form in {InstanceFormat.URL, InstanceFormat.ENV} and (conninfo is None or view.status == "exited"):
        raise ServerNotReady(f"{view.id} is {view.status} and cannot be connected to", hint=view.hint or "")
    if form is InstanceFormat.JSON:
        show_json(view)
    elif form is InstanceFormat.URL:
        typer.echo(view.dsn or "")
    elif form is InstanceFormat.ENV:
        for name, value in (conninfo.environment() if conninfo else {}).items():
            typer.echo(f"export {name}={shlex.quote(value)}")
    elif quiet:
        typer.echo(view.id)
    else:
        fields = view.model_dump(mode="json")
        if view.idle_timeout is not None:
            fields["idle_timeout"] = render_duration(view.idle_timeout)
        owner = ", ".join(f"{key} {value}" for key, value in fields.pop("owner").items() if value)
        labels = ", ".join(f"{key}={value}" for key, value in fields.pop("labels").items())
        shown = {key: value for key, value in fields.items() if value is not None}
        show_pairs(shown | {"owner": owner} | ({"labels": labels} if labels else {}), OutputFormat.TABLE)


def show_list(view: InstanceListView, form: OutputFormat, *, quiet: bool) -> None:
    """Write the list, and what it sums up to on stderr."""
    if form is OutputFormat.JSON:
        show_json(view)
    elif quiet:
        for instance in view.instances:
            typer.echo(instance.id)
    else:
        _show_rows(
            ("ID", "NAME", "STATUS", "VERSION", "PORT", "DATABASE", "USER", "AGE", "ENDS IN", "OWNER"),
            [
                (
                    instance.id,
                    instance.name,
                    instance.status,
                    instance.version,
                    str(instance.port),
                    instance.database or "",
                    instance.username or "",
                    render_age((datetime.now(UTC) - instance.created_at).total_seconds()),
                    _tell_end(instance),
                    f"{instance.owner.user} {instance.owner.session}".strip(),
                )
                for instance in view.instances
            ],
        )
        talk(
            f"{view.count} of {count(view.max_instances, 'instance')}, memory limits sum up to "
            f"{render_size(view.memory_bytes)} of {render_size(view.max_memory_bytes)}"
        )


def show_drops(view: DropListView, form: OutputFormat, *, quiet: bool) -> None:
    """Write what a drop did."""
    if form is OutputFormat.JSON:
        show_json(view)
    elif not quiet:
        _show_rows(("INSTANCE", "OUTCOME"), [(drop.id or drop.ref, drop.outcome) for drop in view.results])


def show_health(view: HealthView, form: OutputFormat) -> None:
    """Write a health check."""
    if form is OutputFormat.JSON:
        show_json(view)
        return
    lines: dict[str, object] = {
        "id": view.id,
        "healthy": "yes" if view.healthy else "no",
        "status": view.status,
    }
    if view.latency_seconds is not None:
        lines["latency"] = f"{view.latency_seconds * 1000:.1f} ms"
        lines["server version"] = view.server_version
        lines["uptime"] = render_age(view.uptime_seconds or 0)
        lines["connections"] = f"{view.connections} of {view.max_connections}"
        lines["database size"] = render_size(view.database_bytes or 0)
        lines["memory"] = (
            f"{render_size(view.memory_bytes or 0)} of {render_size(view.memory_limit_bytes or 0)}"
        )
    if view.exit_code is not None:
        lines["exit code"] = f"{view.exit_code}{' (out of memory)' if view.oom_killed else ''}"
    if view.hint:
        lines["hint"] = view.hint
    show_pairs(lines, OutputFormat.TABLE)
    if view.log_tail:
        talk(view.log_tail)


def show_verdicts(verdicts: Iterable[tuple[str, Verdict]], form: OutputFormat) -> None:
    """Write what the guard says of each text, as JSON one a line; ASCII, since a text may hold half characters."""
    if form is OutputFormat.JSON:
        for sql, verdict in verdicts:
            typer.echo(json.dumps({"sql": sql} | asdict(verdict)))
    else:
        rows = [
            ("admitted" if verdict.admitted else "refused", str(verdict.position or ""), verdict.reason, sql)
            for sql, verdict in verdicts
        ]
        show_table(("VERDICT", "AT", "REASON", "SQL"), rows)


def render_age(seconds: float) -> str:
    """Return a duration as people read it: `5 s`, `12 min`, `3 h`."""
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


def render_left(end: datetime | None) -> str:
    """Return the time until then as people read it: `3 h`, `none`."""
    return "none" if end is None else render_age((end - datetime.now(UTC)).total_seconds())


def count(number: int, thing: str) -> str:
    """Return how many there are: `1 snapshot`, `2 snapshots`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Return the text without what a terminal would obey: names may hold anything that PostgreSQL takes."""
    return "".join(
        char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def _tell_end(instance: ListedInstanceView) -> str:
    left = render_left(instance.expires_at)
    return left if instance.idle_timeout is None else f"{left}, idle {render_duration(instance.idle_timeout)}"


def _show_rows(heads: Sequence[str] | None, rows: Iterable[Sequence[str]]) -> None:
    """Write columns that are as wide as their cells: what a person copies is never cut or wrapped by us."""
    from rich.cells import cell_len

    cells = [[printable(cell).splitlines() or [""] for cell in row] for row in rows]
    lines = [
        *([list(heads)] if heads else []),
        *(line for row in cells for line in zip_longest(*row, fillvalue="")),
    ]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(padded).rstrip())
