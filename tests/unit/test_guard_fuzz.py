"""However a statement is written, the guard says the same of it; and whatever it is given, it says something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dev_postgres_mcp.guard.judging import Guard
from dev_postgres_mcp.guard.packaged import load_catalogue
from dev_postgres_mcp.guard.verdicts import Kind
from tests.guard.corpora import load_samples
from tests.guard.mutations import is_rewritable, rewritten, wrapped

if TYPE_CHECKING:
    from hypothesis.strategies import DataObject

GUARD = Guard(load_catalogue(17))
BUDGET = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
_PIECES = (
    "SELECT FROM WHERE ( ) , ; :: [ ] . * 'a' $$ $ E' U&' \" -- /* */ CASE WHEN THEN END WITH AS x f( INTO FOR UPDATE"
    " UNION JOIN ON NOT BETWEEN AND OPERATOR(+) + = ANY ARRAY[ ROW( OVER ( 1 NULL VALUES TABLE EXPLAIN ANALYZE \0 \ud800"
)


QUERIES = [sample for sample in load_samples() if is_rewritable(sample.sql)]
HOSTILE = [sample.sql for sample in QUERIES if sample.expect != "admit"]
LEGIT = [sample.sql for sample in QUERIES if sample.expect == "admit"]
REFUSED = [sql for sql in HOSTILE if not GUARD.judge(sql).admitted]


@BUDGET
@given(st.data())
def test_a_statement_in_other_letters_gets_the_same_verdict(data: DataObject) -> None:
    sql = data.draw(st.sampled_from(HOSTILE + LEGIT))
    other = data.draw(rewritten(sql))
    assert GUARD.judge(other).admitted == GUARD.judge(sql).admitted, other


@BUDGET
@given(st.data())
def test_what_is_refused_is_refused_inside_of_anything(data: DataObject) -> None:
    sql = data.draw(st.sampled_from(REFUSED))
    other = data.draw(wrapped(sql))
    assert not GUARD.judge(other).admitted, other


@BUDGET
@given(st.one_of(st.text(), st.lists(st.sampled_from(_PIECES.split(" ")), max_size=40).map(" ".join)))
def test_nothing_makes_the_guard_raise(text: str) -> None:
    verdict = GUARD.judge(text)
    assert verdict.reason.endswith(".")
    assert verdict.position is None or 1 <= verdict.position <= len(text) + 1


@BUDGET
@given(st.data())
def test_a_damaged_statement_makes_nothing_raise(data: DataObject) -> None:
    sql = data.draw(st.sampled_from(HOSTILE + LEGIT))
    start = data.draw(st.integers(0, len(sql)))
    end = data.draw(st.integers(start, len(sql)))
    assert GUARD.judge(sql[:start] + data.draw(st.sampled_from(_PIECES.split(" "))) + sql[end:]).reason


@pytest.mark.parametrize("count", [100, 1_000, 10_000, 60_000])
@pytest.mark.parametrize(
    "before, after",
    [
        ("(", ")"),
        ("- ", ""),
        ("NOT ", ""),
        ("1+", ""),
        ("1 OPERATOR(pg_catalog.+) ", ""),
        ("(SELECT ", ")"),
        ("ARRAY[", "]"),
        ("CASE WHEN ", ""),
        ("CASE WHEN ", " THEN 1 END"),
        ("f(", ")"),
        ("x UNION SELECT 1, ", ""),
        ("1 FROM a JOIN b ON ", ""),
        ("1 WHERE x BETWEEN 1 AND NOT ", ""),
        ("x COLLATE b ", ""),
        ("x::int", ""),
        ("1::", "int"),
        ("(x).", "y"),
        ("row(1, ", ")"),
        ("'a' || ", "'b'"),
        ("1 IS DISTINCT FROM ", ""),
        ("f() OVER (ORDER BY ", ")"),
        ("json_object('a' VALUE ", ")"),
        ("x AT TIME ZONE ", ""),
        ("x ~ ANY (", ")"),
        ("x IN (", ")"),
        ("a.", "b"),
    ],
)
def test_no_depth_ends_the_process(before: str, after: str, count: int) -> None:
    verdict = GUARD.judge(f"SELECT {before * count}1{after * count}")
    assert verdict.admitted is False or count <= 1_000 or verdict.kind is Kind.QUERY
