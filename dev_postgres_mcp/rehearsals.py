"""The frozen values of a rehearsal: the script, what each statement did, what it locked, where it failed.

Standard library only, no I/O.  Durations are seconds.  An offset counts characters from 0 in the whole script;
lines and columns count from 1, statements from 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dev_postgres_mcp.changes import Changes

_FIRST_LINE_LENGTH = 120


@dataclass(frozen=True, kw_only=True)
class Position:
    """A place in a script."""

    offset: int
    line: int
    column: int


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement of a script: its text without the semicolon, and where that starts.

    `words` are its words outside parentheses and literals in lower case, quoted identifiers kept in quotes.
    """

    index: int
    text: str
    start: Position
    words: tuple[str, ...]

    def first_line(self) -> str:
        """Return the first line of the text, cut to a readable length."""
        line = self.text.partition("\n")[0].rstrip()
        return line if len(line) <= _FIRST_LINE_LENGTH else line[: _FIRST_LINE_LENGTH - 1] + "…"


@dataclass(frozen=True, kw_only=True)
class Script:
    """A script in statements.  `separate_reason` says why it cannot be one transaction; empty when it can."""

    text: str
    statements: tuple[Statement, ...]
    separate_reason: str = ""

    @property
    def in_transaction(self) -> bool:
        """Return whether all statements run in one transaction of ours."""
        return not self.separate_reason

    def position(self, offset: int) -> Position:
        """Return line and column of a character of the script."""
        return locate(self.text, offset)


@dataclass(frozen=True, kw_only=True)
class StatementRun:
    """What one statement did that went well; `tag` is PostgreSQL's own word, such as `UPDATE 5`."""

    index: int
    line: int
    first_line: str
    seconds: float
    tag: str = ""
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StatementFailure:
    """Why a script stopped, in the server's words.

    `index` is None when no single statement is to blame: the final COMMIT failed, or the script ended inside
    a transaction.  `sqlstate` is empty when the server said none, because the connection was lost.
    """

    index: int | None
    position: Position
    sqlstate: str
    message: str
    detail: str = ""
    hint: str = ""
    context: str = ""


@dataclass(frozen=True, kw_only=True)
class LockHeld:
    """The strongest lock that the script held on one relation that was there before.

    `seconds` is how long it was seen to be held without a break: at least that long, and a lock shorter than
    a look may be missing.  `statement` is the index of the one that ran when it was first seen.
    """

    relation: str
    kind: str
    mode: str
    seconds: float
    blocks_reads: bool
    blocks_writes: bool
    statement: int | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a script: what the session saw, before anybody compares."""

    seconds: float
    statements: tuple[StatementRun, ...] = ()
    locks: tuple[LockHeld, ...] = ()
    failure: StatementFailure | None = None


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What a script did to a database.

    A script in one transaction that failed left nothing: `changes` is what is really there, not a promise.
    """

    in_transaction: bool
    separate_reason: str
    seconds: float
    statements: tuple[StatementRun, ...]
    locks: tuple[LockHeld, ...]
    changes: Changes
    failure: StatementFailure | None = None

    @property
    def succeeded(self) -> bool:
        """Return whether every statement ran and was committed."""
        return self.failure is None


def locate(text: str, offset: int) -> Position:
    """Return line and column of the character at `offset` in `text`; the end of the text has a place too."""
    line_start = text.rfind("\n", 0, offset) + 1
    return Position(offset=offset, line=text.count("\n", 0, offset) + 1, column=offset - line_start + 1)
