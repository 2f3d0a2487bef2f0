"""Whether SQL may run for a reader: by the catalogue of a target, or by PostgreSQL's own without one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import InvalidInput, ServerNotReady
from dev_postgres_mcp.guard.judging import Guard
from dev_postgres_mcp.guard.packaged import load_catalogue

if TYPE_CHECKING:
    from pathlib import Path

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.instances import InstanceManager
    from dev_postgres_mcp.sql.catalogue_base import CatalogueSql


class Checker:
    """Opens guards."""

    def __init__(self, manager: InstanceManager, sql: CatalogueSql) -> None:
        """Find targets by `manager` and read their catalogues by `sql`."""
        self._manager = manager
        self._sql = sql

    def open_guard(self, target: str, *, deadline: Deadline) -> Guard:
        """Return the guard of a target as its database is now.

        Raises ServerNotReady for an instance that cannot be logged in to, and what `CatalogueSql` raises.
        """
        instance = self._manager.get(target)
        if instance.conninfo is None:
            raise ServerNotReady(f"{instance.id} is {instance.status}: its catalogue cannot be read")
        return Guard(self._sql.read(instance.conninfo, deadline=deadline))


def open_offline_guard(version: int) -> Guard:
    """Return the guard of a new server of a major version."""
    return Guard(load_catalogue(version))


def read_statements(file: Path) -> list[str]:
    """Return the `sql` of each line of a file of JSON objects; raises InvalidInput."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidInput(f"{file} cannot be read: {exc}") from exc
    lines = enumerate(text.split("\n"), start=1)  # only there: a text may hold what else ends a line
    return [_read_statement(line, f"{file}, line {number}") for number, line in lines if line.strip()]


def _read_statement(line: str, where: str) -> str:
    hint = 'each line is an object such as {"sql": "SELECT 1"}'
    try:
        found = json.loads(line)
    except ValueError as exc:
        raise InvalidInput(f"{where}: no JSON: {exc}", hint=hint) from exc
    sql = found.get("sql") if isinstance(found, dict) else None
    if not isinstance(sql, str):
        raise InvalidInput(f"{where}: there is no text under `sql`", hint=hint)
    return sql
