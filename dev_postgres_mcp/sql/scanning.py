"""The tokens of a script by the lexical rules of PostgreSQL (manual, 4.1), as coarse as cutting it needs them.

Whatever is not closed - a string, a comment - reaches to the end.  Plain strings are read with
`standard_conforming_strings = on`, the default since 9.1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLANK = r"[ \t\n\r\f\v]"
_LETTER = r"[A-Za-z_\u0080-\U0010ffff]"
"""What may begin a name: to PostgreSQL's scanner every character that is not ASCII is a letter."""
_ESCAPES = r"(?:[^'\\]++|\\.|'')*+(?:'|\Z)"
_CONTINUED = rf"(?:(?>[ \t\f\v]|--[^\n\r]*)*+[\n\r](?>{_BLANK}|--[^\n\r]*[\n\r])*+'{_ESCAPES})*+"
_TOKEN = re.compile(
    rf"""
    (?P<space>    {_BLANK}++ | --[^\n\r]*+ | \A\ufeff )
  | (?P<block>    /\* )
  | (?P<escaped>  [eE]'{_ESCAPES}{_CONTINUED} )
  | (?P<string>   '(?:[^']++|'')*+(?:'|\Z) )
  | (?P<quoted>   "(?:[^"]++|"")*+(?:"|\Z) )
  | (?P<dollar>   \$(?:{_LETTER}(?:{_LETTER}|\d)*+)?\$ )
  | (?P<word>     {_LETTER}(?:{_LETTER}|[\d$])*+ )
  | (?P<number>   \$?[0-9](?:{_LETTER}|[\d.])*+ )
  | (?P<symbols>  [^A-Za-z_0-9\u0080-\U0010ffff\s'"$();\\/-]++ )
  | (?P<other>    . )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


class Token(NamedTuple):
    """What stands from `start` to before `end`; `kind` is a group of the pattern, `space` for a comment."""

    kind: str
    start: int
    end: int


def scan(text: str) -> Iterator[Token]:
    """Yield the tokens, without a gap between them."""
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:  # pragma: no cover - the last alternative takes every character
            return
        kind, end = str(found.lastgroup), found.end()
        if kind == "block":
            kind, end = _end_of_comment(text, end)
        elif found["dollar"] is not None:
            kind, end = "dollar", _end_of_dollar(text, end, found["dollar"])
        yield Token(kind, position, end)
        position = end


def _end_of_comment(text: str, position: int) -> tuple[str, int]:
    """Return kind and end of the block comment that was opened before `position`; they nest.

    One that is never closed is no space: the server is to complain of it, not to miss what it swallowed.
    """
    depth = 1
    for edge in _COMMENT_EDGE.finditer(text, position):
        depth += 1 if edge.group() == "/*" else -1
        if not depth:
            return "space", edge.end()
    return "block", len(text)


def _end_of_dollar(text: str, position: int, quote: str) -> int:
    end = text.find(quote, position)
    return len(text) if end < 0 else end + len(quote)
