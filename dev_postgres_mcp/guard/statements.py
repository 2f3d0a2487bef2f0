"""Statements as a whole: which ones there are beside queries, and what to say of those that are refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dev_postgres_mcp.guard.nodes import EXPLAIN_OPTIONS
from dev_postgres_mcp.guard.verdicts import Kind, Refused

if TYPE_CHECKING:
    from dev_postgres_mcp.guard.grammar import Node

_NAMES = {
    "AlterSystemStmt": "ALTER SYSTEM",
    "CheckPointStmt": "CHECKPOINT",
    "CreateStmt": "CREATE TABLE",
    "CreateTableAsStmt": "CREATE TABLE AS or CREATE MATERIALIZED VIEW",
    "DefineStmt": "CREATE",
    "IndexStmt": "CREATE INDEX",
    "RenameStmt": "ALTER ... RENAME",
    "TransactionStmt": "Transaction control",
    "VariableSetStmt": "SET or RESET",
    "ViewStmt": "CREATE VIEW",
}


def describe_statement(name: str) -> str:
    """Return the refusal of a statement by the name of its node."""
    return f"{_words(name)} is not for a reader; use SELECT, VALUES, TABLE, EXPLAIN of these, or SHOW."


def check_explain(node: Node) -> tuple[str, Node]:
    """Return the query that an EXPLAIN is about, as kind and node; raises Refused when it is about anything else."""
    for option in node.get("options", []):
        name, location = option["DefElem"]["defname"], option["DefElem"].get("location", -1)
        if name not in EXPLAIN_OPTIONS:
            raise Refused(Kind.CLAUSE, f"EXPLAIN knows no option {name!r} that is for a reader.", location)
    ((kind, query),) = node["query"].items()
    if kind != "SelectStmt":
        raise Refused(Kind.STATEMENT, f"EXPLAIN of {_words(kind)} is not for a reader; explain a query.")
    return kind, query


def _words(name: str) -> str:
    return _NAMES.get(name) or re.sub("(?<!^)(?=[A-Z])", " ", name.removesuffix("Stmt")).upper()
