"""Where a script is cut, and what each statement has to do with transactions."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dev_postgres_mcp.errors import InvalidInput
from dev_postgres_mcp.rehearsals import Position, Statement, locate
from dev_postgres_mcp.sql.scanning import scan
from dev_postgres_mcp.sql.splitting import parse_script
from dev_postgres_mcp.sql.transactions import is_plain

WHOLE = [
    "SELECT 1",
    "SELECT 'a;b', 'it''s;'",
    r"SELECT E'\';', e'\\'",
    "SELECT E'a'\n  -- between\n'\\';'",
    'SELECT U&";", "x"";""y"',
    "SELECT $$;$$, $a$ ; $$ $b$ ; $a$",
    "SELECT $1, a$b$c",
    "SELECT 1 /* ; /* ; */ ; */ + 1 -- ;\n + 1",
    "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END",
    'create or replace procedure "p;"() begin atomic select 1 as end; select t.case from t; end',
    "CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1; SELECT 2'",
    "DO $do$ BEGIN PERFORM 1; END $do$",
    "SELECT 'ü', \"🐘;\", $🐘$;$🐘$",
    "SELECT 123abc",  # PostgreSQL 14 takes it, 15 does not
    "REPACK (CONCURRENTLY) t",  # of a version to come
    "BEGIN",
    "END",
]
"""Statements that no semicolon in them ends."""
OPEN = ["SELECT 'never closed;", 'SELECT "never;', "SELECT $$never;", "SELECT (1;", "SELECT 1 /* never;"]
"""What is not closed goes to the end of the script, where the server complains of it."""


def texts(script: str) -> list[str]:
    return [statement.text for statement in parse_script(script).statements]


def only(script: str) -> Statement:
    (statement,) = parse_script(script).statements
    return statement


@pytest.mark.parametrize("text", WHOLE)
def test_a_statement_ends_only_at_its_own_semicolon(text: str) -> None:
    assert texts(text) == [text]
    assert texts(f"{text};") == [text]
    assert texts(f"-- before;\n{text} ; /* after; */ ;\n{text}") == [text, text]


@pytest.mark.parametrize("text", OPEN)
def test_what_is_not_closed_is_left_to_the_server(text: str) -> None:
    assert texts(f"SELECT 1; {text} SELECT 2;") == ["SELECT 1", f"{text} SELECT 2;"]


@pytest.mark.parametrize(
    "text", ["", " \n\t", ";;", "-- only\n", "/* a /* b */ */ ; -- c", "\ufeff", "\ufeff;"]
)
def test_a_script_of_nothing_has_no_statements(text: str) -> None:
    assert texts(text) == []


def test_a_comment_that_swallows_the_rest_is_not_lost() -> None:
    rest = "/* forgot to close\nDROP TABLE t;"
    assert texts(f"SELECT 1; {rest}") == ["SELECT 1", rest]


def test_each_statement_knows_its_place() -> None:
    first, second, third = parse_script("\ufeff-- ü\r\nSELECT 1;\n\n  SELECT\n2; SELECT 3").statements
    assert first.start == Position(offset=7, line=2, column=1)
    assert second.start == Position(offset=20, line=4, column=3)
    assert third.start == Position(offset=30, line=5, column=4)
    assert [first.index, second.index, third.index] == [0, 1, 2]


pieces = st.sampled_from(
    [*WHOLE, *OPEN, ";", ";\n", "'", '"', "$$", "(", ")", "--", "/*", "*/", "E'", "begin atomic"]
)
scripts = st.one_of(
    st.lists(
        st.one_of(pieces, st.text(st.characters(codec="utf-8", exclude_characters="\0"))), max_size=8
    ).map(" ".join),
    st.text(st.characters(codec="utf-8", exclude_characters="\0")),
)


@given(scripts)
def test_no_character_but_space_comments_and_semicolons_is_lost(script: str) -> None:
    assume("\\" not in script)
    assert "".join(script[token.start : token.end] for token in scan(script)) == script
    statements = parse_script(script).statements
    end = 0
    for statement in statements:
        between = script[end : statement.start.offset]
        assert {token.kind for token in scan(between) if between[token.start] != ";"} <= {"space"}
        end = statement.start.offset + len(statement.text)
        assert script[statement.start.offset : end] == statement.text
        assert statement.start == locate(script, statement.start.offset)


@given(st.lists(st.sampled_from(WHOLE)), st.sampled_from([";", " ; ", ";\n-- ;\n", ";;/* ; */"]))
def test_statements_put_together_come_apart_again(statements: list[str], glue: str) -> None:
    assert texts(glue.join(statements)) == statements


@given(scripts)
def test_a_statement_cut_again_stays_whole(script: str) -> None:
    assume("\\" not in script)
    for text in texts(script):
        assert texts(text)[:1] == [text]


def test_a_big_script_is_cut_in_time() -> None:
    started = time.perf_counter()
    assert len(texts("INSERT INTO t VALUES (1, 'a');\n" * 20_000)) == 20_000
    for hostile in (
        "--" * 50_000,
        "E'a'" + "\n--" * 50_000,
        "/*" * 50_000,
        "(" * 50_000,
        "''" * 50_000 + "'",
    ):
        parse_script(hostile)
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize(
    "script, word",
    [
        (r"SELECT 1; \i other.sql", r"`\i` at line 1, column 11"),
        ("\\connect other\nSELECT 1", r"`\connect` at line 1"),
        (r"SELECT 1 \gexec", r"`\gexec`"),
        ("COPY t (a, b) FROM STDIN;\n1\t'\n\\.\n", "statement 1 at line 1, column 1 is a COPY"),
        ("SELECT 1;\ncopy t from stdin with (format csv);", "statement 2 at line 2"),
        ("COPY (SELECT 1) TO STDOUT", "COPY"),
    ],
)
def test_what_only_psql_can_do_is_refused_with_a_way_out(script: str, word: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse_script(script)
    assert word in raised.value.message
    assert "psql" in raised.value.hint


@pytest.mark.parametrize(
    "script", [r"""SELECT '\i', E'\\', $$\d$$, "\x" -- \q""", "COPY t FROM '/file'; COPY t TO '/f'"]
)
def test_a_backslash_in_a_literal_and_a_copy_on_the_server_are_sql(script: str) -> None:
    assert parse_script(script).statements


@pytest.mark.parametrize("script", ["SELECT '\0'", "SELECT '\ud800'"])
def test_what_no_database_can_hold_is_refused(script: str) -> None:
    with pytest.raises(InvalidInput, match=r"line 1, column 9"):
        parse_script(script)


@pytest.mark.parametrize(
    "script",
    [
        "ALTER TABLE t ADD COLUMN a int; UPDATE t SET a = 1",
        "SAVEPOINT a; ROLLBACK TO a; ROLLBACK WORK TO SAVEPOINT a; RELEASE a",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SET LOCAL lock_timeout = '1s'",
        "CREATE INDEX i ON t (a); DROP INDEX i; REINDEX TABLE t; REINDEX (VERBOSE) INDEX i; CLUSTER t USING i",
        'CREATE INDEX "concurrently" ON "vacuum" (a); CLUSTER "t"',
        "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
        "ALTER TYPE mood ADD VALUE 'odd'; ALTER TABLE p DETACH PARTITION c; ALTER DATABASE d SET work_mem = '1MB'",
        "EXPLAIN SELECT 1; DO $$ BEGIN END $$; CALL p()",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END",
        "",
    ],
)
def test_a_script_is_one_transaction(script: str) -> None:
    assert parse_script(script).in_transaction


@pytest.mark.parametrize(
    "statement, reason",
    [
        ("BEGIN", "(BEGIN) controls"),
        ("START TRANSACTION READ ONLY", "(START) controls"),
        ("COMMIT AND CHAIN", "controls"),
        ("END", "controls"),
        ("ABORT", "controls"),
        ("ROLLBACK", "controls"),
        ("PREPARE TRANSACTION 'a'", "controls"),
        ("COMMIT PREPARED 'a'", "controls"),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", "(CREATE INDEX CONCURRENTLY) cannot run"),
        (
            "create unique index concurrently if not exists i on t (a)",
            "(CREATE UNIQUE INDEX CONCURRENTLY) cannot",
        ),
        ("DROP INDEX /* x */ CONCURRENTLY i", "cannot run"),
        ("REINDEX TABLE CONCURRENTLY t", "cannot run"),
        ("REINDEX (VERBOSE, CONCURRENTLY) TABLE t", "cannot run"),
        ("REINDEX (VERBOSE) DATABASE d", "cannot run"),
        ("ALTER TABLE p DETACH PARTITION c CONCURRENTLY", "cannot run"),
        ("VACUUM", "(VACUUM) cannot run"),
        ("vacuum (full) t", "cannot run"),
        ("CREATE DATABASE d", "cannot run"),
        ("DROP DATABASE IF EXISTS d", "cannot run"),
        ("ALTER DATABASE d SET TABLESPACE s", "cannot run"),
        ("ALTER SYSTEM SET work_mem = '1MB'", "cannot run"),
        ("CREATE TABLESPACE s LOCATION '/x'", "cannot run"),
        ("DROP SUBSCRIPTION s", "cannot run"),
        ("DISCARD ALL", "cannot run"),
        ("CLUSTER", "cannot run"),
    ],
)
def test_a_script_that_cannot_be_one_transaction_says_why(statement: str, reason: str) -> None:
    script = parse_script(f"SELECT 1;\n{statement};")
    assert not script.in_transaction
    assert script.separate_reason.startswith("statement 2 on line 2 (")
    assert reason in script.separate_reason
    assert not is_plain(script.statements[1])


@pytest.mark.parametrize(
    "text", ["DECLARE c CURSOR FOR SELECT 1", "LOCK TABLE t", "SAVEPOINT a", "SET LOCAL a.b = 1", "CALL p()"]
)
def test_what_means_something_else_in_a_transaction_is_not_plain(text: str) -> None:
    assert not is_plain(only(text))


def test_the_first_line_of_a_statement_is_short() -> None:
    assert only("SELECT 1,  \n 2").first_line() == "SELECT 1,"
    assert len(only("SELECT " + "x" * 1000).first_line()) == 120
