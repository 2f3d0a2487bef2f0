"""A script in statements, cut where psql would cut it, every statement with its place.

Only the lexical rules of PostgreSQL are known here, not its grammar: what the server of another version would
parse differently, or not at all, still arrives there as it was written, and its error has a place.  (A parser
of one version loses statements that it does not know, and the places of the others.)
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import InvalidInput
from dev_postgres_mcp.rehearsals import Position, Script, Statement, locate
from dev_postgres_mcp.sql.scanning import scan
from dev_postgres_mcp.sql.transactions import find_separate_reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev_postgres_mcp.sql.scanning import Token

_ROUTINE = re.compile(r"create (?:or replace )?(?:function|procedure)\b")
_OPTIONS_FOLLOW = "reindex"
"""Its CONCURRENTLY may stand in the parenthesis behind it."""
_TELLING = {"word", "quoted", "symbols", "other"}


def parse_script(text: str) -> Script:
    r"""Return the script in statements, none for an empty one.

    Raises InvalidInput for what only psql understands (`\i`, `COPY ... FROM STDIN`) and for text that no
    database can hold.
    """
    _check_characters(text)
    statements = tuple(_split(text))
    return Script(text=text, statements=statements, separate_reason=find_separate_reason(statements))


def _split(text: str) -> Iterator[Statement]:
    cutter = _Cutter(text)
    place = Position(offset=0, line=1, column=1)
    for index, (start, end, words) in enumerate(cutter.cut()):
        place = _move(text, place, start)
        statement = Statement(index=index, text=text[start:end], start=place, words=words)
        _check_copy(statement)  # before what follows is read: that may be its data
        yield statement


def _move(text: str, place: Position, offset: int) -> Position:
    """Return the place of `offset`, counted on from an earlier place: a big script is read once."""
    lines = text.count("\n", place.offset, offset)
    if not lines:
        return Position(offset=offset, line=place.line, column=place.column + offset - place.offset)
    column = offset - text.rfind("\n", 0, offset)
    return Position(offset=offset, line=place.line + lines, column=column)


class _Cutter:
    """Walks over the tokens of a script and knows where a semicolon ends a statement."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._reset()

    def cut(self) -> Iterator[tuple[int, int, tuple[str, ...]]]:
        """Yield start, end and words of each statement that is not empty."""
        for token in scan(self._text):
            if token.kind == "space":
                continue
            if self._text[token.start] == ";" and not self._parentheses and not self._body:
                if self._start is not None:
                    yield self._start, self._end, tuple(self._words)
                self._reset()
                continue
            self._take(token)
        if self._start is not None:
            yield self._start, self._end, tuple(self._words)

    def _reset(self) -> None:
        self._start: int | None = None
        self._end = 0
        self._words: list[str] = []
        self._parentheses = 0
        self._body = 0
        self._options = False
        self._previous = ""

    def _take(self, token: Token) -> None:
        if self._start is None:
            self._start = token.start
        self._end = token.end
        piece = self._text[token.start : token.end] if token.kind in _TELLING else ""
        if piece == "\\":
            raise _meta_command(self._text, token.start)
        if piece == "(":
            self._parentheses += 1
            self._options = self._options or self._words == [_OPTIONS_FOLLOW]
        elif piece == ")":
            self._parentheses = max(0, self._parentheses - 1)
        elif token.kind in {"word", "quoted"}:
            self._take_word(piece.lower() if token.kind == "word" else piece)
        self._previous = piece.lower()

    def _take_word(self, word: str) -> None:
        if self._parentheses:
            if self._options:
                self._words.append(word)
            return
        if self._previous != "as" and not self._previous.endswith("."):
            self._body += self._depth_change(word)
        if self._body <= 1:
            self._words.append(word)

    def _depth_change(self, word: str) -> int:
        """Return by how much a word deepens the body of an SQL function: BEGIN ATOMIC and CASE until END."""
        if self._body:
            return {"case": 1, "end": -1}.get(word, 0)
        opens = word == "atomic" and self._previous == "begin"
        return int(opens and _ROUTINE.match(" ".join(self._words[:4])) is not None)


def _check_characters(text: str) -> None:
    offset = text.find("\0")
    if offset < 0:
        try:
            text.encode()
        except UnicodeEncodeError as exc:
            offset = exc.start
    if offset >= 0:
        raise InvalidInput(
            f"the script has a character at {_say(locate(text, offset))} that PostgreSQL cannot store",
            hint="save the script as UTF-8 without NUL characters",
        )


def _check_copy(statement: Statement) -> None:
    words = statement.words
    if not words or words[0] != "copy":
        return
    pairs = set(pairwise(words))
    if pairs & {("from", "stdin"), ("to", "stdout"), ("from", "stdout"), ("to", "stdin")}:
        raise InvalidInput(
            f"statement {statement.index + 1} at {_say(statement.start)} is a COPY through the client, "
            "which only psql can do",
            hint="write the rows as INSERT (`pg_dump --inserts`), or run the script with psql",
        )


def _meta_command(text: str, offset: int) -> InvalidInput:
    command = text[offset:].split(maxsplit=1)[0][:40]
    return InvalidInput(
        f"`{command}` at {_say(locate(text, offset))} is a command of psql, not SQL",
        hint=r"take lines that start with a backslash out (put the file that `\i` names in its place, "
        "write rows as INSERT: `pg_dump --inserts`), or run the script with psql",
    )


def _say(position: Position) -> str:
    return f"line {position.line}, column {position.column}"
