"""The frozen values: what they hide, and what they say."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from dev_postgres_mcp import model
from dev_postgres_mcp.errors import InvalidInput
from dev_postgres_mcp.model import Conninfo, Endpoint, Evidence, Secret
from dev_postgres_mcp.parsing import check_display_name, check_name, check_password
from dev_postgres_mcp.runtimes.base import Record
from tests.helpers.stages import some_launch

if TYPE_CHECKING:
    from collections.abc import Callable

WORD = "hunter2-nobody-may-see-this"
NAME = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=63)


def accepted(check: Callable[..., str], **how: str) -> st.SearchStrategy[str]:
    """Return texts that pass one of our checks."""

    def passes(text: str) -> bool:
        try:
            return check(text, **how) == text
        except InvalidInput:
            return False

    return NAME.filter(passes)


def conninfo(
    *, host: str = "127.0.0.1", database: str = "shop", username: str = "me", password: str = WORD
) -> Conninfo:
    return Conninfo(
        endpoint=Endpoint(host=host, port=15432),
        database=database,
        username=username,
        password=Secret(password),
    )


def test_a_secret_shows_in_no_way_of_printing_it() -> None:
    secret = Secret(WORD)
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r}", f"{secret!s:>9}", repr([secret])):
        assert WORD not in shown
        assert "***" in shown
    assert secret.reveal() == WORD


def test_values_that_hold_a_secret_do_not_show_it() -> None:
    launch = some_launch(record=Record(id="a", name="b", database="c", username="d", password=Secret(WORD)))
    for holder in (conninfo(), launch, launch.record, {"x": Secret(WORD)}):
        assert WORD not in repr(holder)
        assert WORD not in f"{holder}"


def test_secrets_are_equal_when_their_texts_are() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")


def test_all_values_are_frozen_and_named_by_keyword() -> None:
    for value in vars(model).values():
        if dataclasses.is_dataclass(value) and isinstance(value, type) and value.__module__ == model.__name__:
            parameters = value.__dataclass_params__  # type: ignore[attr-defined]  # CPython's own note of it
            assert parameters.frozen, value
            assert value is Secret or all(field.kw_only for field in dataclasses.fields(value)), value


@given(database=NAME, username=NAME, password=NAME)
def test_libpq_reads_from_the_dsn_what_went_into_it(database: str, username: str, password: str) -> None:
    read = conninfo_to_dict(conninfo(database=database, username=username, password=password).dsn())
    assert read == {
        "host": "127.0.0.1",
        "port": 15432,
        "dbname": database,
        "user": username,
        "password": password,
    } | {"port": "15432"}


@pytest.mark.parametrize("host", ["::1", "fe80::1", "2001:db8::7"])
def test_an_ipv6_host_stands_in_brackets(host: str) -> None:
    dsn = conninfo(host=host).dsn()
    assert f"@[{host}]:15432/" in dsn
    assert conninfo_to_dict(dsn)["host"] == host


@given(database=NAME, username=NAME)
def test_a_redacted_dsn_is_the_dsn_without_its_password(database: str, username: str) -> None:
    login = conninfo(database=database, username=username)
    assert WORD not in login.redacted_dsn()
    assert login.redacted_dsn() == login.dsn().replace(f":{WORD}@", ":***@")


def test_the_environment_is_what_libpq_and_frameworks_read() -> None:
    login = conninfo()
    assert login.environment() == {
        "DATABASE_URL": f"postgresql://me:{WORD}@127.0.0.1:15432/shop",
        "PGHOST": "127.0.0.1",
        "PGPORT": "15432",
        "PGUSER": "me",
        "PGPASSWORD": WORD,
        "PGDATABASE": "shop",
    }


def test_a_login_can_be_moved_to_another_database_or_user() -> None:
    login = conninfo()
    assert login.on(database="other") == conninfo(database="other")
    assert login.on(username="you") == conninfo(username="you")
    assert login.on() == login


@pytest.mark.parametrize(
    "evidence, text",
    [
        (Evidence(exit_code=1), "exit code 1"),
        (Evidence(exit_code=137, oom_killed=True), "exit code 137, out of memory (OOM)"),
        (Evidence(exit_code=3, log_tail="FATAL: no"), "exit code 3\nlast log lines:\nFATAL: no"),
    ],
)
def test_evidence_reads_as_lines(evidence: Evidence, text: str) -> None:
    assert evidence.summary() == text


@given(
    accepted(check_display_name),
    accepted(check_name, what="database"),
    accepted(check_name, what="user"),
    accepted(check_password),
)
def test_a_record_survives_its_file(name: str, database: str, username: str, password: str) -> None:
    record = Record(id="abc", name=name, database=database, username=username, password=Secret(password))
    assert Record.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"7",
        b"{}",
        b"\xff\xfe",
        b'{"id": "a"}',
        b'{"password": "x"}',
        b"[1, 2]",
    ],
)
def test_what_is_no_whole_record_is_none(content: bytes) -> None:
    assert Record.from_json(content) is None


def test_a_record_cut_at_any_byte_is_none() -> None:
    whole = Record(id="abc", name="n", database="d", username="u", password=Secret("p")).to_json()
    assert all(Record.from_json(whole[:end]) is None for end in range(len(whole)))


WHOLE = {"id": "abc", "name": "n", "database": "d", "username": "u", "password": "p"}


@pytest.mark.parametrize("field", list(WHOLE))
@pytest.mark.parametrize("value", [None, 7, True, ["a"], {"a": "b"}], ids=repr)
def test_a_record_with_a_field_that_is_no_text_is_none(field: str, value: object) -> None:
    """The superuser inside can write the file: whatever we would not have written is not believed."""
    assert Record.from_json(json.dumps(WHOLE).encode()) is not None
    assert Record.from_json(json.dumps(WHOLE | {field: value}).encode()) is None


@pytest.mark.parametrize("field", list(WHOLE))
def test_a_record_without_one_of_its_fields_is_none(field: str) -> None:
    kept = {key: text for key, text in WHOLE.items() if key != field}
    assert Record.from_json(json.dumps(kept).encode()) is None


@pytest.mark.parametrize("field", ["name", "database", "username", "password"])
@pytest.mark.parametrize("value", ["", "a\0b", "x" * 5000, "\ud800"], ids=["empty", "NUL", "long", "broken"])
def test_a_record_with_a_text_that_we_refuse_is_none(field: str, value: str) -> None:
    assert Record.from_json(json.dumps(WHOLE | {field: value}).encode()) is None


@pytest.mark.parametrize(
    "field, value",
    [("name", "a\x1b[31mb"), ("name", "a\nb"), ("password", "a\nb"), ("database", "d" * 64)],
)
def test_a_record_that_would_break_a_terminal_or_a_login_is_none(field: str, value: str) -> None:
    assert Record.from_json(json.dumps(WHOLE | {field: value}).encode()) is None


def test_more_than_a_record_is_read_as_the_record() -> None:
    record = Record(id="abc", name="n", database="d", username="u", password=Secret("p"))
    more = json.loads(record.to_json()) | {"__class__": "x", "more": 1}
    assert Record.from_json(json.dumps(more).encode()) == record
