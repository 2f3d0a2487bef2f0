"""The same statement written otherwise: what PostgreSQL's lexer takes for the same, and what holds it inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st
from postgast import scan
from postgast.pg_query_pb2 import Token

from dev_postgres_mcp.guard.grammar import parse_statements
from dev_postgres_mcp.guard.verdicts import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypothesis.strategies import DrawFn

_NAME, _TEXT, _COMMENTS = (
    Token.Value("IDENT"),
    Token.Value("SCONST"),
    {Token.Value("SQL_COMMENT"), Token.Value("C_COMMENT")},
)
_GAPS = (
    " ",
    "\n",
    "\t",
    "\r\n",
    "\f",
    " /**/ ",
    " /* a /* b */ ; ' */ ",
    " -- c ' ; \n",
    " --\r",
    " /*$$*/ ",
)
_WRAPPERS = (
    "({})",
    "(({}))",
    "SELECT * FROM ({}) AS wrapped",
    "WITH wrapped AS ({}) SELECT * FROM wrapped",
    "WITH wrapped AS MATERIALIZED ({}) TABLE wrapped",
    "SELECT EXISTS ({})",
    "SELECT 1 WHERE EXISTS ({})",
    "({}) UNION ALL ({})",
    "SELECT * FROM (VALUES (1)) v, LATERAL ({}) AS wrapped",
    "SELECT count(*) FROM ({}) AS wrapped",
    "SELECT CASE WHEN EXISTS ({}) THEN 1 END",
    "SELECT array(SELECT 1 FROM ({}) AS wrapped)",
    "EXPLAIN {}",
    "EXPLAIN (ANALYZE, COSTS off) {}",
)


def is_rewritable(sql: str) -> bool:
    """Return whether a text is one query whose tokens may have gaps between them: not N and the string after it."""
    try:
        statements = parse_statements(sql)
    except Refused:
        return False
    return len(statements) == 1 and "SelectStmt" in statements[0]["stmt"] and "N'" not in sql


@st.composite
def rewritten(draw: DrawFn, sql: str) -> str:
    """Return the same tokens in other letters, with other gaps between them."""
    return "".join(draw(st.sampled_from(_GAPS)) + draw(_spelled(kind, word)) for kind, word in _words(sql))


@st.composite
def wrapped(draw: DrawFn, sql: str) -> str:
    """Return a query around a query."""
    for template in draw(st.lists(st.sampled_from(_WRAPPERS), min_size=1, max_size=4)):
        if not sql.startswith("EXPLAIN"):
            sql = template.format(*[sql] * template.count("{}"))
    return sql


def _words(sql: str) -> Iterator[tuple[int, str]]:
    text = sql.encode()
    for token in scan(sql).tokens:
        word = text[token.start : token.end].decode()
        if token.token in _COMMENTS:
            continue
        if word != ";":
            yield token.token, word


def _spelled(kind: int, word: str) -> st.SearchStrategy[str]:
    if kind == _NAME and word.isidentifier() and word.isascii():
        return st.sampled_from(
            (word, word.upper(), word.title(), f'"{word.lower()}"', _escaped(word.lower()))
        )
    if kind == _TEXT and word.startswith("'") and "'" not in word[1:-1] and "\\" not in word:
        inner = word[1:-1]
        return st.sampled_from((word, f"E'{inner}'", f"U&'{inner}'", f"$q${inner}$q$"))
    return (
        st.sampled_from((word, word.upper(), word.lower()))
        if word.isalpha() and word.isascii()
        else st.just(word)
    )


def _escaped(name: str) -> str:
    return f'U&"\\{ord(name[0]):04x}{name[1:]}"'
