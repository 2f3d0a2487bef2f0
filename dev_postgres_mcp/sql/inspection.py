"""Reads a whole database: every object with its definition, every table with its exact number of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import sql

from dev_postgres_mcp.changes import Identity, Inspection, Schema, TableState
from dev_postgres_mcp.sql.sessions import ask, open_session, query

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import psycopg

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo

PROMPT_COUNTERS = 150000
"""From this version on the server's counters can be made to tell at once what a session did."""
_TABLES_PER_TRIP = 200


def inspect_database(conninfo: Conninfo, *, deadline: Deadline) -> Inspection:
    """Return schema and row counts as of one moment; raises as `ScriptSql` says."""
    with open_session(conninfo, deadline, lambda: "reading the schema and counting rows") as connection:
        ask(connection, "pin_session")
        ask(connection, "begin_look")
        schema = Schema(objects=dict(_read_objects(connection)))
        inspection = Inspection(schema=schema, tables=dict(_read_tables(connection)))
        ask(connection, "end_look")
    return inspection


def _read_objects(connection: psycopg.Connection[Any]) -> Iterator[tuple[Identity, str]]:
    for part_of, kind, name, definition in ask(connection, "schema"):
        yield Identity(part_of=part_of, kind=kind, name=name), definition or ""


def _read_tables(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, TableState]]:
    found = ask(connection, "tables").fetchall()
    prompt = connection.info.server_version >= PROMPT_COUNTERS
    counts = _count_rows(connection, [(schema, table) for schema, table, *_ in found])
    for (_, _, name, oid, filenode, *counters), rows in zip(found, counts, strict=True):
        inserted, updated, deleted = counters if prompt else (None, None, None)
        yield (
            name,
            TableState(
                oid=oid, filenode=filenode, rows=rows, inserted=inserted, updated=updated, deleted=deleted
            ),
        )


def _count_rows(connection: psycopg.Connection[Any], names: Sequence[tuple[str, str]]) -> Iterator[int]:
    count = sql.SQL(query("count_rows"))
    for first in range(0, len(names), _TABLES_PER_TRIP):
        some = names[first : first + _TABLES_PER_TRIP]
        statements = [count.format(schema=sql.Identifier(s), table=sql.Identifier(t)) for s, t in some]
        cursor = connection.execute(sql.SQL("\n").join(statements), prepare=False)
        for _ in some:
            yield int(cursor.fetchall()[0][0])
            cursor.nextset()
