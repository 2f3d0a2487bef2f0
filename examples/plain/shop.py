"""A shop that knows SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

    import psycopg


def add_item(connection: psycopg.Connection, name: str, price: Decimal) -> int:
    """Put an item on the shelf and return its id."""
    statement = "INSERT INTO item (name, price) VALUES (%s, %s) RETURNING id"
    return connection.execute(statement, (name, price)).fetchone()[0]


def count_items(connection: psycopg.Connection) -> int:
    """Return how many items there are."""
    return connection.execute("SELECT count(*) FROM item").fetchone()[0]
