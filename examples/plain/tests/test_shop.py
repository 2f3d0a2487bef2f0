from __future__ import annotations

from decimal import Decimal

import psycopg
import pytest
from shop import add_item, count_items


@pytest.fixture
def connection(postgres_database):
    with postgres_database.connect() as connection:
        yield connection


def test_an_item_is_added(connection):
    add_item(connection, "tea", Decimal("3.50"))
    assert count_items(connection) == 1


def test_the_shelf_is_empty_at_first(connection):
    assert count_items(connection) == 0


def test_a_price_below_zero_is_refused(connection):
    with pytest.raises(psycopg.errors.CheckViolation):
        add_item(connection, "debt", Decimal(-1))
