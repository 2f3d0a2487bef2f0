"""The frozen values: what they hide, and what they say."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from dev_postgres_mcp import model
from dev_postgres_mcp.model import Conninfo, Endpoint, Evidence, Secret
from dev_postgres_mcp.runtimes.base import Delivery, State
from tests.helpers.stages import some_launch, some_record

WORD = "hunter2-nobody-may-see-this"
NAME = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=63)


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
    launch = some_launch(record=some_record(password=Secret(WORD)))
    delivery = Delivery(command="take-in", lines=(Secret(WORD),))
    for holder in (conninfo(), launch, launch.record, delivery, State(record=launch.record), [Secret(WORD)]):
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
