"""Questions to a server through its DSN alone, as any client would ask them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from dev_postgres_mcp.model import Instance


def dsn_of(instance: Instance) -> str:
    """Return the DSN of an instance that can be connected to."""
    assert instance.conninfo is not None
    return instance.conninfo.dsn()


def rows(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    """Return the rows of one statement; `%` stays literal."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def value(dsn: str, statement: str) -> Any:
    """Return the only value of the only row."""
    ((found,),) = rows(dsn, statement)
    return found


def roles(dsn: str) -> set[str]:
    """Return the roles that are not PostgreSQL's own."""
    return {name for (name,) in rows(dsn, r"SELECT rolname FROM pg_roles WHERE rolname NOT LIKE 'pg\_%'")}


def databases(dsn: str) -> set[str]:
    """Return the names of all databases."""
    return {name for (name,) in rows(dsn, "SELECT datname FROM pg_database")}
