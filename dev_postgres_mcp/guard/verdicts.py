"""What the guard says of a text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an admitted text is, or what a refusal is about."""

    QUERY = "query"
    EXPLAIN = "explain"
    SHOW = "show"
    SYNTAX = "syntax"
    LIMIT = "limit"
    STATEMENT = "statement"
    CLAUSE = "clause"
    FUNCTION = "function"
    OPERATOR = "operator"
    TYPE = "type"
    RELATION = "relation"
    SETTING = "setting"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a text may run for a reader, and why.

    `kind` of an admitted text says how it is run: a query through a cursor, EXPLAIN and SHOW as they are.
    `position` is that of the refused part, in characters from 1 as PostgreSQL counts, None when it has none.
    """

    admitted: bool
    reason: str
    kind: Kind
    position: int | None = None


class Refused(Exception):
    """A part of the text may not run.  `location` counts bytes from 0 as the grammar does; -1 is nowhere."""

    def __init__(self, kind: Kind, reason: str, location: int = -1) -> None:
        """Keep what is refused, why in one sentence, and where it stands."""
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.location = location
