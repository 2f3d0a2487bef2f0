"""The one door to PostgreSQL's own grammar: libpg_query, brought by `postgast`.

The tree is taken as JSON: the library's own messages stop at a depth that long chains of joins reach.  libpg_query
itself writes the tree by recursion and takes the whole process along when its stack ends, so the depth is
bounded before that, from the tokens: whatever makes a tree deeper needs a token of its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from dev_postgres_mcp.guard.verdicts import Kind, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

MAX_BYTES = 256 * 1024
"""A list of 5,000 UUIDs has 190 kB.  A tree takes about 400 times the memory of its text."""
MAX_DEPTH = 300
"""A stack of 512 kB, the smallest that a thread has anywhere, is full at about 1,000 nested queries."""
_BRACKET_WEIGHT = 2

Node: TypeAlias = "dict[str, Any]"


_COMMENTS = "SQL_COMMENT C_COMMENT"
_OPENING = "ASCII_40 ASCII_91 CASE"
_CLOSING = "ASCII_41 ASCII_93 END_P"
_BREAKS = "ASCII_44 AND OR WHEN THEN ELSE"
"""What stands on either side of one of these is beside the other side, not inside of it."""
_LASTING = "UNION INTERSECT EXCEPT JOIN BETWEEN"
"""Their chains go on across commas or an AND."""
_STEPS = (
    "Op TYPECAST NOT NOT_LA IS ISNULL NOTNULL IN_P LIKE ILIKE SIMILAR COLLATE AT OPERATOR OVERLAPS LESS_EQUALS"
    " GREATER_EQUALS NOT_EQUALS EQUALS_GREATER COLON_EQUALS ASCII_37 ASCII_42 ASCII_43 ASCII_45 ASCII_47 ASCII_60"
    " ASCII_61 ASCII_62 ASCII_94"
)


def parse_statements(sql: str) -> list[Node]:
    """Return the raw statements of a text as PostgreSQL's grammar sees them; raises Refused."""
    text, library = _encode(sql), _load_library()
    try:
        return _parse(text, library)
    except library.PgQueryError as exc:
        message = exc.message.rstrip(".")
        raise Refused(Kind.SYNTAX, f"PostgreSQL cannot parse this: {message}.", exc.cursorpos - 1) from exc
    except (RecursionError, ValueError) as exc:
        raise Refused(Kind.LIMIT, "The statement cannot be taken apart; write it more simply.") from exc


def character(sql: str, location: int) -> int | None:
    """Return which character, from 1, stands at a location in bytes; None for nowhere."""
    if location < 0:
        return None
    return len(sql.encode("utf-8", "replace")[:location].decode("utf-8", "ignore")) + 1


def _encode(sql: str) -> bytes:
    try:
        text = sql.encode()
    except UnicodeEncodeError as exc:
        raise Refused(Kind.SYNTAX, "The text holds a character that UTF-8 does not have.") from exc
    if 0 in text:
        raise Refused(Kind.SYNTAX, "The text holds a NUL character; take it out.", text.index(0))
    if len(text) > MAX_BYTES:
        raise Refused(
            Kind.LIMIT, f"The text has {len(text)} bytes, and {MAX_BYTES} are allowed; send a shorter one."
        )
    return text


@cache
def _load_library() -> ModuleType:
    """Return postgast, which is loaded with the first text; raises Refused where it does not exist."""
    try:
        import postgast.native
        import postgast.pg_query_pb2
    except ImportError as exc:
        reason = "SQL cannot be judged here: the package postgast is not installed, or has no build for this platform."
        raise Refused(Kind.LIMIT, reason) from exc
    library: ModuleType = postgast
    return library


def _parse(text: bytes, library: ModuleType) -> list[Node]:
    tokens, numbers = library.scan(text.decode()).tokens, _find_tokens()
    depth = _bound_depth((token.token for token in tokens), numbers)
    if depth > MAX_DEPTH:
        raise Refused(
            Kind.LIMIT,
            f"The statement is nested {depth} levels deep, and {MAX_DEPTH} are allowed; write it flatter.",
        )
    comments = [token for token in tokens if token.token in numbers.comments]
    result = library.native.lib.pg_query_parse(_blank(text, comments) if comments else text)
    try:
        library.errors.check_error(result)
        statements: list[Node] = json.loads(result.parse_tree).get("stmts", [])
        return statements
    finally:
        library.native.lib.pg_query_free_parse_result(result)


def _blank(text: bytes, comments: Iterable[Any]) -> bytes:
    """Return the text with spaces for comments: libpg_query stumbles over one where it has to look ahead.

    The end of a line stays, since it joins two strings, and a comment in brackets does not.
    """
    blank = bytearray(text)
    for comment in comments:
        inside = text[comment.start : comment.end]
        ends = b"\r\n" if inside.startswith(b"--") else b""
        blank[comment.start : comment.end] = bytes(byte if byte in ends else 0x20 for byte in inside)
    return bytes(blank)


@dataclass(frozen=True, kw_only=True)
class _Tokens:
    """The numbers of the tokens that say something about depth, and of comments."""

    comments: frozenset[int]
    opening: frozenset[int]
    closing: frozenset[int]
    breaks: frozenset[int]
    lasting: frozenset[int]
    steps: frozenset[int]


@cache
def _find_tokens() -> _Tokens:
    number = _load_library().pg_query_pb2.Token.Value
    comments, opening, closing, breaks, lasting, steps = (
        frozenset(map(number, names.split()))
        for names in (_COMMENTS, _OPENING, _CLOSING, _BREAKS, _LASTING, _STEPS)
    )
    return _Tokens(
        comments=comments, opening=opening, closing=closing, breaks=breaks, lasting=lasting, steps=steps
    )


def _bound_depth(tokens: Iterable[int], numbers: _Tokens) -> int:
    """Return a depth that the tree of these tokens does not exceed by much."""
    deepest = closed = 0  # `closed` is the sum over the brackets that are open
    levels: list[tuple[int, int]] = []
    lasting = steps = 0
    for token in tokens:
        if token in numbers.steps:
            steps += 1
        elif token in numbers.opening:
            levels.append((lasting, steps))
            closed += lasting + steps + _BRACKET_WEIGHT
            lasting = steps = 0
        elif token in numbers.breaks:
            steps = 0
        elif token in numbers.lasting:
            lasting += 1
        elif token in numbers.closing and levels:
            lasting, steps = levels.pop()
            closed -= lasting + steps + _BRACKET_WEIGHT
        deepest = max(deepest, closed + lasting + steps)
    return deepest
