"""SQL is kept as SQL: each statement under a name."""

from __future__ import annotations

import re
from collections import Counter
from importlib.resources import files

import pytest

from dev_postgres_mcp.sql import client
from dev_postgres_mcp.sql.queries import load_queries

FOLDER = files("dev_postgres_mcp.sql")
FILES = ("catalogue.sql", "databases.sql", "queries.sql", "inspection.sql", "running.sql")


def read(file: str) -> str:
    return FOLDER.joinpath(file).read_text(encoding="utf-8")


def test_every_file_is_tested() -> None:
    assert sorted(path.name for path in FOLDER.iterdir() if path.name.endswith(".sql")) == sorted(FILES)


def test_names_are_unique() -> None:
    names = [name for file in FILES for name in re.findall(r"^-- name: (.*)$", read(file), re.MULTILINE)]
    assert names
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert set(names) == {name for file in FILES for name in load_queries(file)}, (
        "a name that is no single word would be lost"
    )


@pytest.mark.parametrize(
    "file, name", [(file, name) for file in FILES for name in sorted(load_queries(file))]
)
def test_each_name_has_one_statement(file: str, name: str) -> None:
    statement = re.sub(r"^--.*$", "", load_queries(file)[name], flags=re.MULTILINE).strip()
    assert statement.endswith(";")
    assert statement.count(";") == 1
    assert re.match(r"[A-Z]+[ ;]", statement)


@pytest.mark.parametrize("file", FILES)
def test_no_statement_stands_without_a_name(file: str) -> None:
    assert read(file).startswith("-- name: ")
    assert sum(statement.count(";") for statement in load_queries(file).values()) == read(file).count(";")


def test_each_statement_is_used() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in FOLDER.iterdir() if path.name.endswith(".py"))
    assert client.__doc__
    assert [name for file in FILES for name in load_queries(file) if f'"{name}"' not in code] == []
