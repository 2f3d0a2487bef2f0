"""What lies beside a server: what we wrote is read back, and nothing that we would not have written is believed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev_postgres_mcp.errors import InvalidInput
from dev_postgres_mcp.model import Evidence, Lease, Owner, Secret
from dev_postgres_mcp.parsing import MAX_DURATION, check_display_name, check_name, check_password
from dev_postgres_mcp.runtimes.base import Record, State
from dev_postgres_mcp.runtimes.docker.state import (
    EXIT,
    LEASE,
    PASSWORD,
    READ_COMMAND,
    RECORD,
    parse_state,
    render_spare,
    state_files,
)
from dev_postgres_mcp.runtimes.records import (
    parse_lease,
    render_lease,
    render_record,
    state_from_json,
    state_to_json,
)
from tests.helpers.stages import some_record

if TYPE_CHECKING:
    from collections.abc import Callable

ID = "abcdefghjkmn"
MOMENT = datetime(2026, 11, 1, 10, 0, 0, tzinfo=UTC)
TEXT = st.text(st.characters(codec="utf-8"), max_size=80)
NAME = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=63)


def accepted(check: Callable[..., str], **how: str) -> st.SearchStrategy[str]:
    """Return texts that pass one of our checks."""

    def passes(text: str) -> bool:
        try:
            return check(text, **how) == text
        except InvalidInput:
            return False

    return NAME.filter(passes)


RECORDS = st.builds(
    Record,
    id=st.just(ID),
    name=accepted(check_display_name),
    database=accepted(check_name, what="database"),
    username=accepted(check_name, what="user"),
    password=accepted(check_password).map(Secret),
    created_at=st.datetimes(timezones=st.just(UTC)),
    owner=st.builds(Owner, session=TEXT, user=TEXT, cwd=TEXT, process=TEXT),
    labels=st.dictionaries(TEXT, TEXT, max_size=4),
)
SECONDS = st.integers(1, MAX_DURATION).map(float)
LEASES = st.builds(
    Lease,
    expires_at=st.none() | SECONDS.map(lambda seconds: MOMENT + timedelta(seconds=seconds)),
    idle_timeout=st.none() | SECONDS,
)
FINISHED = SECONDS.map(lambda seconds: MOMENT + timedelta(seconds=seconds))
ENDS = st.builds(Evidence, exit_code=st.integers(0, 255), finished_at=FINISHED) | st.builds(
    Evidence, exit_code=st.just(137), oom_killed=st.just(True), finished_at=FINISHED
)


def printed(record: Record, lease: Lease = Lease(), more: dict[str, bytes] | None = None) -> bytes:  # noqa: B008 - frozen
    """Return what the command prints over the files that we write."""
    files = {**state_files(record, lease), **(more or {})}
    order = (RECORD, LEASE, EXIT, PASSWORD)
    return b"".join(name.encode() + b"\n" + files[name] for name in order if name in files)


def whole() -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(
        render_record(some_record(id=ID, owner=Owner(user="u"), labels={"a": "b"}))
    )
    return fields


def parsed(fields: object) -> State | None:
    content = json.dumps(fields).encode()
    return parse_state(b"record\n" + content + b"\npassword\ns3cret", ID)


@given(RECORDS, LEASES)
def test_a_state_survives_its_files(record: Record, lease: Lease) -> None:
    assert parse_state(printed(record, lease), ID) == State(record=record, lease=lease)


@given(RECORDS, LEASES, st.none() | ENDS)
def test_a_state_survives_the_clients_cache(record: Record, lease: Lease, ended: Evidence | None) -> None:
    state = State(record=record, lease=lease, ended=ended)
    kept = json.loads(json.dumps(dict(state_to_json(state))))
    assert state_from_json(kept) == state


@given(RECORDS)
def test_no_password_is_in_the_file_that_a_commit_would_hold(record: Record) -> None:
    assert "password" not in json.loads(render_record(record))


@given(RECORDS)
def test_a_record_is_one_line_whatever_is_in_it(record: Record) -> None:
    assert render_record(record).count(b"\n") == 1
    assert render_record(record).endswith(b"\n")


@given(RECORDS)
def test_the_state_of_another_instance_is_none(record: Record) -> None:
    """It came along in a snapshot."""
    assert parse_state(printed(record), "nmkjhgfedcba") is None


def test_how_a_server_ended_is_read() -> None:
    state = parse_state(printed(some_record(id=ID), more={EXIT: b"137 1793527200 2\n"}), ID)
    assert state is not None
    assert state.ended == Evidence(exit_code=137, oom_killed=True, finished_at=MOMENT)


@pytest.mark.parametrize(
    "content", [b"\n", b"x y z\n", b"137\n", b"1 2\n", b"1 2 3 4\n", b"-1 2 3\n", b"\xff\n"]
)
def test_what_is_no_end_of_a_server_is_none(content: bytes) -> None:
    state = parse_state(printed(some_record(id=ID), more={EXIT: content}), ID)
    assert state is not None
    assert state.ended is None


@given(LEASES)
def test_a_lease_survives_its_file(lease: Lease) -> None:
    assert parse_lease(render_lease(lease)) == lease


def test_a_lease_is_rounded_up_to_seconds() -> None:
    lease = Lease(expires_at=MOMENT + timedelta(milliseconds=1), idle_timeout=0.2)
    assert render_lease(lease) == b"1793527201 1\n"
    assert render_lease(Lease()) == b"0 0\n"
    assert render_spare(MOMENT + timedelta(milliseconds=1)) == b"1793527201\n"


@pytest.mark.parametrize(
    "content", [b"", b"7", b"a b", b"1 2 3", b"-1 0", b"1.5 0", b"\xff \xff", "¹ ²".encode()]
)
def test_what_is_no_lease_has_no_end(content: bytes) -> None:
    """PID 1 reads it the same way, and keeps to the last good one."""
    assert parse_lease(content) == Lease()


@pytest.mark.parametrize("digits", [13, 17, 18, 19, 30, 5000])
def test_an_end_that_no_calendar_holds_is_none(digits: int) -> None:
    assert parse_lease(b"9" * digits + b" 0").expires_at is None


@pytest.mark.parametrize("digits", [13, 18, 19, 400, 5000])
def test_an_idle_time_that_no_clock_counts_breaks_no_list(digits: int) -> None:
    idle = parse_lease(b"0 " + b"9" * digits).idle_timeout
    assert idle is None or idle > MAX_DURATION


@given(st.binary(max_size=200))
def test_whatever_the_superuser_inside_writes_is_no_error(content: bytes) -> None:
    assert parse_state(content, ID) is None
    parse_lease(content)
    for name in (RECORD, LEASE, EXIT, PASSWORD):
        parse_state(printed(some_record(id=ID), more={name: content}), ID)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[]", b'"text"', b"7", b"{}", b"\xff\xfe", b'{"id": "a"}', b"[1, 2]"]
)
def test_what_is_no_whole_record_is_none(content: bytes) -> None:
    assert parse_state(printed(some_record(id=ID), more={RECORD: content + b"\n"}), ID) is None


def test_a_deeply_nested_record_is_none() -> None:
    nested = b'{"a":' * 50_000
    assert parse_state(printed(some_record(id=ID), more={RECORD: nested + b"\n"}), ID) is None


def test_a_state_cut_at_any_byte_is_none_or_its_beginning() -> None:
    record = some_record(id=ID)
    output = printed(record)
    start = output.index(b"password\n") + len(b"password\n")
    for end in range(len(output)):
        state = parse_state(output[:end], ID)
        assert state is None or (end > start and state.record.password != record.password)


@pytest.mark.parametrize("field", ["id", "name", "database", "username", "created_at"])
@pytest.mark.parametrize("value", [None, 7, True, ["a"], {"a": "b"}], ids=repr)
def test_a_record_with_a_field_that_is_no_text_is_none(field: str, value: object) -> None:
    assert parsed(whole()) is not None
    assert parsed(whole() | {field: value}) is None


@pytest.mark.parametrize("field", ["owner", "labels"])
@pytest.mark.parametrize("value", [None, 7, "a", ["a"], {"a": 7}, {"a": None}, {"user": {}}], ids=repr)
def test_a_record_whose_owner_or_labels_are_none_is_none(field: str, value: object) -> None:
    assert parsed(whole() | {field: value}) is None


@pytest.mark.parametrize("field", list(whole()))
def test_a_record_without_one_of_its_fields_is_none(field: str) -> None:
    kept = {key: text for key, text in whole().items() if key != field}
    assert parsed(kept) is None


@pytest.mark.parametrize("field", ["name", "database", "username"])
@pytest.mark.parametrize("value", ["", "a\0b", "x" * 5000, "\ud800"], ids=["empty", "NUL", "long", "broken"])
def test_a_record_with_a_text_that_we_refuse_is_none(field: str, value: str) -> None:
    assert parsed(whole() | {field: value}) is None


@pytest.mark.parametrize(
    "field, value",
    [("name", "a\x1b[31mb"), ("name", "a\nb"), ("database", "d" * 64), ("created_at", "yesterday")],
)
def test_a_record_that_would_break_a_terminal_or_a_login_is_none(field: str, value: str) -> None:
    assert parsed(whole() | {field: value}) is None


@pytest.mark.parametrize("password", [b"", b"a\nb\n", b"a\0b", b"a\rb", b"x" * 5000], ids=repr)
def test_a_password_that_we_would_not_set_is_none(password: bytes) -> None:
    assert parse_state(printed(some_record(id=ID), more={PASSWORD: password}), ID) is None


def test_more_than_a_record_is_read_as_the_record() -> None:
    plain = parsed(whole())
    assert plain is not None
    assert (
        parsed(whole() | {"__class__": "x", "more": 1, "created_at": plain.record.created_at.isoformat()})
        == plain
    )


@pytest.mark.parametrize("moment", ["2026-11-01T10:00:00", "2026-11-01T12:00:00+02:00"])
def test_a_time_of_any_zone_can_be_compared(moment: str) -> None:
    state = parsed(whole() | {"created_at": moment})
    assert state is not None
    assert state.record.created_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+14:00"]
)
def test_a_time_at_the_end_of_the_calendar_breaks_no_list(moment: str) -> None:
    parsed(whole() | {"created_at": moment})


@pytest.mark.parametrize(
    "kept",
    [
        None,
        7,
        [],
        "x",
        {},
        {"record": None},
        {"record": {}, "lease": "", "exit": ""},
        {"record": [], "lease": 1},
    ],
    ids=repr,
)
def test_what_is_no_whole_state_in_the_cache_is_none(kept: Any) -> None:
    assert state_from_json(kept) is None


def test_the_command_reads_no_more_than_the_four_files() -> None:
    assert READ_COMMAND[:2] == ("/bin/sh", "-c")
    for name in ("state/record", "state/lease", "state/exit", "secret/password"):
        assert name in READ_COMMAND[2]
