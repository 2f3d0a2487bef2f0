"""What a statement has to do with transactions, told by its first words, as psql tells it (`command_no_begin`).

A statement that is not known here to refuse a transaction block is run in one; the server then says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dev_postgres_mcp.rehearsals import Statement

_CONTROL = {"begin", "start", "commit", "end", "abort", "rollback"}
_ALONE = {
    "alter": {"system", "subscription"},
    "create": {"database", "tablespace", "subscription"},
    "drop": {"database", "tablespace", "subscription"},
    "discard": {"all"},
    "vacuum": set[str](),
}
"""First word, and the second ones that refuse a transaction block; none means all."""
_REINDEX_TARGETS = {"index": False, "table": False, "schema": True, "database": True, "system": True}
_PLAIN = {
    "alter",
    "analyze",
    "comment",
    "create",
    "delete",
    "drop",
    "grant",
    "insert",
    "merge",
    "refresh",
    "reindex",
    "revoke",
    "select",
    "truncate",
    "update",
    "with",
}
"""Do the same alone and between a BEGIN and a COMMIT of their own."""


def find_separate_reason(statements: Sequence[Statement]) -> str:
    """Return why these statements cannot be one transaction of ours; empty when they can."""
    for statement in statements:
        place = f"statement {statement.index + 1} on line {statement.start.line} ({name(statement)})"
        if is_control(statement):
            return f"{place} controls transactions itself"
        if refuses_block(statement):
            return f"{place} cannot run in a transaction block"
    return ""


def is_control(statement: Statement) -> bool:
    """Return whether the statement begins or ends a transaction; savepoints do neither."""
    words = statement.words
    if words[:2] == ("prepare", "transaction"):
        return True
    return bool(words) and words[0] in _CONTROL and not (words[0] == "rollback" and "to" in words)


def refuses_block(statement: Statement) -> bool:
    """Return whether the server would refuse the statement in a transaction block."""
    words = statement.words
    if not words:
        return False
    second = _ALONE.get(words[0])
    if second is not None and (not second or (words[1:2] and words[1] in second)):
        return True
    if words == ("cluster",):
        return True
    return _is_concurrent(words) or _reindexes_at_once(words) or _moves_database(words)


def is_plain(statement: Statement) -> bool:
    """Return whether a transaction around the statement alone changes nothing about it."""
    return bool(statement.words) and statement.words[0] in _PLAIN and not refuses_block(statement)


def name(statement: Statement) -> str:
    """Return the first words in capitals: `CREATE INDEX CONCURRENTLY`."""
    known = [word.upper() for word in statement.words[:4] if not word.startswith('"')]
    if "CONCURRENTLY" in known:
        return " ".join(known[: known.index("CONCURRENTLY") + 1])
    return " ".join(known[:1] if is_control(statement) else known[:2])


def _is_concurrent(words: Sequence[str]) -> bool:
    """Return whether an index is built or dropped, or a partition detached, without blocking.

    REFRESH MATERIALIZED VIEW CONCURRENTLY may stand in a transaction.
    """
    if words[0] in {"create", "drop"}:
        return "index" in words[:3] and "concurrently" in words[:4]
    return words[:2] == ("alter", "table") and "detach" in words and words[-1] == "concurrently"


def _reindexes_at_once(words: Sequence[str]) -> bool:
    """Return whether a REINDEX works in transactions of its own; options may stand before what it names."""
    target = next((word for word in words[1:] if word in _REINDEX_TARGETS), "")
    return words[0] == "reindex" and ("concurrently" in words or _REINDEX_TARGETS.get(target, False))


def _moves_database(words: Sequence[str]) -> bool:
    return words[:2] == ("alter", "database") and words[-3:-1] == ("set", "tablespace")
