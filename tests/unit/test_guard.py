"""The guard by class: what it admits, what it refuses, and what it says of it."""

from __future__ import annotations

from typing import Any

import postgast.pg_query_pb2 as messages
import pytest

from dev_postgres_mcp.guard.catalogue import (
    CORE,
    Cast,
    Catalogue,
    Function,
    Operator,
    Relation,
    Type,
)
from dev_postgres_mcp.guard.grammar import MAX_BYTES
from dev_postgres_mcp.guard.judging import Guard
from dev_postgres_mcp.guard.nodes import ALLOWED
from dev_postgres_mcp.guard.packaged import load_catalogue, pack, unpack
from dev_postgres_mcp.guard.verdicts import Kind
from tests.guard.corpora import load_samples

OFFLINE = Guard(load_catalogue(17))
SAMPLES = load_samples()
UNKNOWN = "is not part of PostgreSQL 17"


def live(**more: tuple[object, ...]) -> Guard:
    """Return the guard of a server that has more than PostgreSQL's own."""
    own = load_catalogue(17)
    parts: dict[str, Any] = {
        name: (*getattr(own, name), *more.get(name, ()))
        for name in ("functions", "operators", "types", "casts", "relations")
    }
    return Guard(Catalogue(version=17, live=True, **parts))


def written_in_sql(body: str, **more: object) -> Function:
    given: dict[str, object] = {"schema": "public", "name": "f", "language": "sql", "body": body, "oid": 1}
    return Function(**(given | more))  # type: ignore[arg-type]


LOUD = Function(schema="public", name="loud", arguments=("text",), language="plpgsql", volatility="i", oid=7)


def test_nothing_that_must_be_refused_is_admitted_without_a_target() -> None:
    assert [one.sql for one in SAMPLES if one.expect == "reject" and OFFLINE.judge(one.sql).admitted] == []


def test_without_a_target_a_read_is_refused_only_for_what_a_user_made() -> None:
    reasons = {OFFLINE.judge(one.sql).reason for one in SAMPLES if one.expect == "admit"}
    assert {reason for reason in reasons if UNKNOWN not in reason} <= {
        "It only reads.",
        "It explains a statement that only reads.",
        "It shows a setting.",
    }


@pytest.mark.parametrize("version", [14, 15, 16, 17, 18])
def test_every_version_has_a_catalogue(version: int) -> None:
    catalogue = load_catalogue(version)
    assert catalogue.version == version
    assert len(catalogue.functions) > 2000
    assert Guard(catalogue).judge("SELECT lower('A') || 1::text").admitted
    assert not Guard(catalogue).judge("SELECT pg_sleep(1)").admitted


def test_a_catalogue_survives_its_file() -> None:
    one = Catalogue(
        version=17,
        live=True,
        functions=(
            Function(
                schema="pg_catalog",
                name="f",
                arguments=("int4", "text"),
                defaults=1,
                volatility="s",
                origin=CORE,
            ),
            Function(schema="pg_catalog", name="v", arguments=("any",), variadic=True, origin=CORE),
            Function(schema="public", name="own"),
            Function(
                schema="public", name="similar", volatility="i", origin="pg_trgm", security_definer=True
            ),
        ),
        operators=(Operator(schema="pg_catalog", name="||", origin=CORE),),
        types=(Type(schema="pg_catalog", name="int4", origin=CORE),),
    )
    again = unpack(pack([one]), 17)
    assert {function.name for function in again.functions} == {"f", "v", "similar"}
    (found,) = again.functions_named("f")
    assert found == one.functions[0]
    assert again.functions_named("similar", "anywhere")[0].security_definer
    assert again.functions_named("similar", "pg_catalog") == ()
    assert again.operators == one.operators
    assert again.types == one.types


def test_the_listed_nodes_and_fields_are_those_of_the_grammar() -> None:
    for name, fields in ALLOWED.items():
        known = {field.json_name: field for field in getattr(messages, name).DESCRIPTOR.fields}
        for field, child in fields.items():
            of = known[field].message_type
            assert (of.name if of and of.name != "Node" else "") == child, f"{name}.{field}"


@pytest.mark.parametrize(
    "sql, kind, says, position",
    [
        ("SELECT 1; SELECT 2", Kind.STATEMENT, "2 statements", 11),
        ("", Kind.STATEMENT, "no statement", None),
        ("SELECT FROM FROM", Kind.SYNTAX, "syntax error", 13),
        ("SELECT '\0'", Kind.SYNTAX, "NUL", 9),
        ("SELECT '\ud800'", Kind.SYNTAX, "UTF-8", None),
        ("SELECT '" + "x" * MAX_BYTES + "'", Kind.LIMIT, "bytes", None),
        ("SELECT " + "(" * 200 + "1" + ")" * 200, Kind.LIMIT, "nested", None),
        ("DROP TABLE users", Kind.STATEMENT, "DROP is not for a reader", 1),
        ("EXPLAIN DELETE FROM users", Kind.STATEMENT, "EXPLAIN of DELETE", None),
        ("EXPLAIN (nonsense) SELECT 1", Kind.CLAUSE, "no option 'nonsense'", 10),
        ("SHOW hba_file", Kind.SETTING, "hba_file", 1),
        ("SELECT * INTO t FROM users", Kind.CLAUSE, "INTO", 15),
        ("SELECT 1 FROM users FOR UPDATE", Kind.CLAUSE, "lock rows", None),
        ("SELECT 1 FROM users u FOR UPDATE OF u", Kind.CLAUSE, "lock rows", 37),
        ("WITH d AS (DELETE FROM users) SELECT 1", Kind.CLAUSE, "DELETE writes", 24),
        ("SELECT 'é', pg_sleep(1)", Kind.FUNCTION, "pg_sleep keeps the connection waiting", 13),
        ("SELECT nope(1)", Kind.FUNCTION, UNKNOWN, 8),
        ("SELECT 1 <#=#> 2", Kind.OPERATOR, UNKNOWN, 10),
        ("SELECT 'x'::nope", Kind.TYPE, UNKNOWN, 13),
        ("SELECT * FROM pg_authid", Kind.RELATION, "secrets", 15),
    ],
)
def test_a_refusal_says_what_and_where(sql: str, kind: Kind, says: str, position: int | None) -> None:
    verdict = OFFLINE.judge(sql)
    assert not verdict.admitted
    assert (verdict.kind, verdict.position) == (kind, position)
    assert says in verdict.reason
    assert verdict.reason.endswith(".")
    assert "\n" not in verdict.reason


@pytest.mark.parametrize(
    "sql, kind",
    [("TABLE users", Kind.QUERY), ("EXPLAIN ANALYZE SELECT 1", Kind.EXPLAIN), ("SHOW ALL", Kind.SHOW)],
)
def test_an_admitted_text_says_how_it_is_run(sql: str, kind: Kind) -> None:
    assert OFFLINE.judge(sql).kind is kind


def test_joins_and_chains_as_long_as_people_write_them_are_admitted() -> None:
    joins = "SELECT count(*) FROM users u0" + "".join(
        f" JOIN users u{n} ON u{n}.id = u0.id" for n in range(1, 150)
    )
    assert OFFLINE.judge(joins).admitted
    assert OFFLINE.judge("SELECT " + " || ',' || ".join(["name"] * 100)).admitted
    assert OFFLINE.judge(f"SELECT 1 WHERE 1 IN ({', '.join(map(str, range(20_000)))})").admitted
    assert OFFLINE.judge("SELECT 1 WHERE " + " OR ".join(["(a = 1 AND b < 2)"] * 1000)).admitted


@pytest.mark.parametrize(
    "function, admitted",
    [
        (written_in_sql("SELECT 1"), True),
        (written_in_sql("SELECT lower('A'); SELECT 2"), True),
        (written_in_sql(""), True),
        (written_in_sql("RETURN 1 + 1", atomic=True), True),
        (written_in_sql("BEGIN ATOMIC SELECT 1; SELECT 2; END", atomic=True), True),
        (written_in_sql("BEGIN ATOMIC SELECT 1; SELECT pg_sleep(1); END", atomic=True), False),
        (written_in_sql("RETURN pg_sleep(1)", atomic=True), False),
        (written_in_sql("SELECT 1; SELECT pg_advisory_lock(1)", volatility="i"), False),
        (written_in_sql("INSERT INTO t VALUES (1)"), False),
        (written_in_sql("SELECT f()"), False),
        (written_in_sql("no SQL at all"), False),
        (written_in_sql("SELECT 1", security_definer=True), False),
        (written_in_sql("SELECT 1", settings=("work_mem=1GB",)), False),
        (written_in_sql("SELECT 1", settings=("search_path=public",)), True),
        (written_in_sql("", language="plpgsql", volatility="i"), False),
        (written_in_sql("pg_sleep", language="internal", volatility="i"), False),
        (written_in_sql("", origin="some_extension", volatility="i"), True),
        (written_in_sql("", origin="some_extension"), False),
        (written_in_sql("", origin="dblink", volatility="i"), False),
        (written_in_sql("", origin="some_extension", volatility="i", security_definer=True), False),
    ],
)
def test_a_users_function_is_judged_by_what_it_does_and_not_by_its_label(
    function: Function, admitted: bool
) -> None:
    assert live(functions=(function,)).judge("SELECT f()").admitted is admitted


def test_only_functions_count_that_could_be_meant() -> None:
    guard = live(functions=(written_in_sql("SELECT pg_sleep(1)", name="lower", arguments=("text", "text")),))
    assert guard.judge("SELECT lower('A')").admitted
    assert not guard.judge("SELECT lower('A', 'B')").admitted
    assert not guard.judge("SELECT lower(VARIADIC 'A')").admitted


def test_a_schema_that_no_search_path_names_is_met_only_by_its_name() -> None:
    own = load_catalogue(17)
    there = written_in_sql("SELECT pg_sleep(1)", name="lower", schema="aside", arguments=("text",))
    functions = (*own.functions, there)
    path = frozenset({"pg_catalog", "public"})
    known: dict[str, Any] = {"functions": functions, "operators": own.operators, "types": own.types}
    guard = Guard(Catalogue(version=17, live=True, path=path, **known))
    assert guard.judge("SELECT lower('A')").admitted
    assert not guard.judge("SELECT aside.lower('A')").admitted


def test_an_aggregate_is_judged_by_its_parts() -> None:
    good = Function(schema="public", name="good", arguments=("int4",), parts=(1,))
    bad = Function(schema="public", name="bad", arguments=("int4",), parts=(1, 7))
    guard = live(functions=(written_in_sql("SELECT 1"), LOUD, good, bad))
    assert guard.judge("SELECT good(id) FROM users").admitted
    assert "has a part that is written in plpgsql" in guard.judge("SELECT bad(id) FROM users").reason


def test_operators_are_judged_by_their_functions() -> None:
    good = Operator(schema="public", name="=+=", function=1)
    bad = Operator(schema="public", name="=!=", function=7)
    guard = live(functions=(written_in_sql("SELECT 1"), LOUD), operators=(good, bad))
    assert guard.judge("SELECT 1 =+= 2").admitted
    assert not guard.judge("SELECT 1 OPERATOR(public.=!=) 2").admitted
    assert not guard.judge("SELECT 1 ORDER BY 1 USING =!=").admitted
    shadow = live(functions=(LOUD,), operators=(Operator(schema="public", name="=", function=7),))
    for sql in (
        "SELECT 1 = 2",
        "SELECT CASE 1 WHEN 2 THEN 3 END",
        "SELECT 1 FROM a JOIN b USING (id)",
        "SELECT 1 FROM a NATURAL JOIN b",
        "SELECT 1 IN (SELECT 2)",
        "SELECT NULLIF(1, 2)",
        "SELECT 1 IS DISTINCT FROM 2",
    ):
        assert not shadow.judge(sql).admitted, sql
    assert shadow.judge("SELECT 1 OPERATOR(pg_catalog.=) 2").admitted


def test_types_are_judged_by_what_reading_a_value_runs() -> None:
    good = Type(schema="public", name="good", kind="d", checks=("VALUE > 0",), oid=11)
    bad = Type(schema="public", name="bad", kind="d", checks=("loud(VALUE)",), oid=12)
    row = Type(schema="public", name="bad_row", kind="c", parts=(11, 12), oid=13)
    base = Type(schema="public", name="base", oid=14)
    ours = Type(schema="public", name="cast_to", kind="c", oid=15)
    lost = Type(schema="public", name="lost", kind="c", parts=(99,), oid=16)
    guard = live(
        functions=(LOUD,), types=(good, bad, row, base, ours, lost), casts=(Cast(target=15, function=7),)
    )
    assert guard.judge("SELECT 1::good").admitted
    for name in ("bad", "public.bad", "bad[]", "bad_row", "base", "cast_to", "lost"):
        assert not guard.judge(f"SELECT NULL::{name}").admitted, name
    assert not guard.judge("SELECT bad('x')").admitted
    assert not guard.judge("SELECT (x).bad FROM t").admitted


def test_relations_are_judged_by_the_code_behind_them() -> None:
    def relation(name: str, **more: object) -> Relation:
        return Relation(schema="public", name=name, **more)  # type: ignore[arg-type]

    guard = live(
        functions=(LOUD,),
        relations=(
            relation("good", query="SELECT 1"),
            relation("bad", query="SELECT loud('x')"),
            relation("worse", query="SELECT * FROM bad"),
            relation("open", policies=("id > 0",)),
            relation("watched", policies=("id > 0", "loud('x')")),
            relation("far", wrapper="postgres_fdw"),
            relation("shell", wrapper="file_fdw", program=True),
            relation("odd", wrapper="some_fdw"),
        ),
    )
    for name in ("good", "open", "far", "a_table"):
        assert guard.judge(f"TABLE {name}").admitted, name
    for name in ("bad", "worse", "watched", "shell", "odd"):
        assert not guard.judge(f"TABLE {name}").admitted, name


def test_code_behind_code_behind_code_has_an_end() -> None:
    chain = tuple(
        written_in_sql(f"SELECT f{n + 1}()" if n < 60 else "SELECT 1", name=f"f{n}", oid=100 + n)
        for n in range(61)
    )
    assert not live(functions=chain).judge("SELECT f0()").admitted
    assert live(functions=chain).judge("SELECT f50()").admitted


@pytest.mark.parametrize("name", ["json_scalar", "json_object", "json"])
def test_what_is_syntax_now_was_a_users_function_before(name: str) -> None:
    ours = written_in_sql("SELECT pg_sleep(1)", name=name, arguments=("text",))
    assert OFFLINE.judge(f"SELECT {name}('{{a,b}}')").admitted
    assert not live(functions=(ours,)).judge(f"SELECT {name}('{{a,b}}')").admitted


def test_a_type_named_as_text_has_to_be_one_of_postgresqls_own() -> None:
    assert OFFLINE.judge("SELECT pg_input_is_valid('1', 'numeric(3,1)')").admitted
    for name in ("'nope'", "'int) FROM (SELECT 1'", "x", "''", "'int; DROP TABLE t'"):
        assert not OFFLINE.judge(f"SELECT pg_input_is_valid('1', {name}) FROM t").admitted, name


def test_a_function_that_takes_a_row_can_be_written_as_its_column() -> None:
    row = written_in_sql("SELECT pg_sleep(1)", name="total", arguments=("users",))
    text = written_in_sql("SELECT pg_sleep(1)", name="size", arguments=("text",))
    guard = live(functions=(row, text), types=(Type(schema="public", name="users", kind="c", oid=11),))
    assert not guard.judge("SELECT u.total FROM users u").admitted
    assert guard.judge("SELECT u.size FROM users u").admitted
    assert not guard.judge("SELECT (u.name).size FROM users u").admitted


def test_what_was_found_out_is_kept() -> None:
    guard = live(functions=(written_in_sql("SELECT pg_sleep(1)"),))
    assert guard.judge("SELECT f()") == guard.judge("SELECT f()")
