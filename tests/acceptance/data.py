"""What a server answers to its user, whichever face it was asked for through."""

from __future__ import annotations

from typing import Any

import psycopg


def execute(instance: dict[str, Any], *statements: str) -> None:
    """Run statements, each committed by itself."""
    with psycopg.connect(instance["dsn"], autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def fetch(instance: dict[str, Any], query: str) -> list[Any]:
    """Return the first column of what a query finds."""
    with psycopg.connect(instance["dsn"], autocommit=True) as connection:
        return [row[0] for row in connection.execute(query.encode()).fetchall()]


def stock(instance: dict[str, Any]) -> None:
    """Put a table with three rows into its database."""
    execute(
        instance,
        "CREATE TABLE fruit (name text PRIMARY KEY, price numeric NOT NULL)",
        "INSERT INTO fruit VALUES ('apple', 1), ('mango', 2), ('melon', 3)",
    )


def fruit(instance: dict[str, Any]) -> list[Any]:
    """Return what is in that table."""
    return fetch(instance, "SELECT name FROM fruit ORDER BY name")
