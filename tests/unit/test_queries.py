"""SQL is kept as SQL: each statement under a name."""

from __future__ import annotations

import re
from collections import Counter
from importlib.resources import files

import pytest

from dev_postgres_mcp.sql import client
from dev_postgres_mcp.sql.queries import load_queries

TEXT = files("dev_postgres_mcp.sql").joinpath("queries.sql").read_text(encoding="utf-8")


def test_names_are_unique() -> None:
    names = re.findall(r"^-- name: (.*)$", TEXT, re.MULTILINE)
    assert names
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert set(names) == set(load_queries()), "a name that is no single word would be lost"


@pytest.mark.parametrize("name", sorted(load_queries()))
def test_each_name_has_one_statement(name: str) -> None:
    statement = re.sub(r"^--.*$", "", load_queries()[name], flags=re.MULTILINE).strip()
    assert statement.endswith(";")
    assert statement.count(";") == 1
    assert re.match(r"[A-Z]+ ", statement)


def test_no_statement_stands_without_a_name() -> None:
    assert TEXT.startswith("-- name: ")
    assert sum(statement.count(";") for statement in load_queries().values()) == TEXT.count(";")


def test_each_statement_is_used() -> None:
    code = (files("dev_postgres_mcp.sql") / "client.py").read_text(encoding="utf-8")
    assert client.__doc__
    assert [name for name in load_queries() if f'"{name}"' not in code] == []
