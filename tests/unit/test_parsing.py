"""What people write, and what is made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev_postgres_mcp.errors import InvalidInput
from dev_postgres_mcp.parsing import (
    ID_ALPHABET,
    MAX_DURATION,
    check_display_name,
    check_image,
    check_name,
    check_password,
    check_seed,
    check_settings,
    check_username,
    hide_userinfo,
    new_id,
    new_password,
    parse_duration,
    parse_memory,
    parse_pairs,
    parse_ports,
    parse_size,
    parse_version,
    render_duration,
    render_size,
    shorten,
)

UNICODE = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


def fits(text: str) -> bool:
    return len(text.encode()) <= 63


@pytest.mark.parametrize("version", ["14", "15", "16", "17", "18"])
def test_each_offered_version_is_taken(version: str) -> None:
    assert parse_version(version) == version


@pytest.mark.parametrize("version", ["9", "13", "19", "17.5", "", "latest", " 17", "1" * 10_000])
def test_a_version_that_is_not_offered_is_refused_with_the_ones_that_are(version: str) -> None:
    with pytest.raises(InvalidInput, match="is not offered") as caught:
        parse_version(version)
    assert "14, 15, 16, 17, 18" in caught.value.hint
    assert len(caught.value.explain()) < 300


@pytest.mark.parametrize(
    "text, size",
    [
        ("512m", 512 * 1024**2),
        ("512M", 512 * 1024**2),
        ("512MB", 512 * 1024**2),
        ("512MiB", 512 * 1024**2),
        ("512 mb", 512 * 1024**2),
        (" 1g ", 1024**3),
        ("1.5g", 3 * 1024**3 // 2),
        ("2T", 2 * 1024**4),
        ("64k", 64 * 1024),
        ("268435456", 268435456),
        ("10b", 10),
        ("0", 0),
    ],
)
def test_sizes_are_read_in_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "m", "-1m", "1x", "1,5g", "0x10", "1e3", "1 2", "½g", "inf", "512m512m", "." * 9]
)
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a size") as caught:
        parse_size(text)
    assert "512m" in caught.value.hint


@pytest.mark.parametrize("text", ["9" * 400, "9" * 400 + "g"])
def test_a_size_beyond_all_machines_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_size(text)


@given(st.integers(0, 2**53))
def test_a_size_in_bytes_is_read_exactly(size: int) -> None:
    assert parse_size(str(size)) == size


@given(st.integers(1, 1023), st.sampled_from(["kB", "MB", "GB", "TB"]))
def test_a_rendered_size_reads_as_itself(number: int, unit: str) -> None:
    size = parse_size(f"{number} {unit}")
    assert render_size(size) == f"{number} {unit}"
    assert parse_size(render_size(size)) == size


@pytest.mark.parametrize("text", ["1m", "1 MB", "63m", "0", "67108863"])
def test_memory_in_which_postgres_cannot_start_is_refused_with_the_least(text: str) -> None:
    with pytest.raises(InvalidInput, match="too little for PostgreSQL") as caught:
        parse_memory(text)
    assert "64 MB" in caught.value.hint


def test_the_least_memory_is_taken() -> None:
    assert parse_memory("64m") == 64 * 1024**2


@given(st.integers(1, 65535), st.integers(1, 65535))
def test_a_port_range_holds_both_ends_or_is_reversed(first: int, last: int) -> None:
    if first <= last:
        ports = parse_ports(f"{first}-{last}")
        assert (ports[0], ports[-1], len(ports)) == (first, last, last - first + 1)
    else:
        with pytest.raises(InvalidInput, match="is reversed") as caught:
            parse_ports(f"{first}-{last}")
        assert f"{last}-{first}" in caught.value.hint


def test_a_single_port_is_a_range() -> None:
    assert list(parse_ports("15432")) == [15432]


@pytest.mark.parametrize(
    "text, problem",
    [
        ("25432-15432", "25432-15432 is reversed"),
        ("0-10", "leaves 1-65535"),
        ("60000-65536", "leaves 1-65535"),
        ("0", "leaves 1-65535"),
        ("", "is not a range"),
        ("a-b", "is not a range"),
        ("1-2-3", "is not a range"),
        ("-5", "is not a range"),
        ("15432:25432", "is not a range"),
        ("123456-123457", "is not a range"),
    ],
)
def test_a_bad_port_range_is_refused(text: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as caught:
        parse_ports(text)
    assert caught.value.hint


@given(UNICODE.filter(fits))
def test_every_name_that_postgres_takes_is_taken_for_a_database(name: str) -> None:
    assert check_name(name, what="database") == name


@pytest.mark.parametrize(
    "name, problem",
    [
        ("", "database name is empty"),
        ("a\0b", "NUL"),
        ("x" * 64, "is 64 bytes long"),
        ("é" * 32, "is 64 bytes long"),
        ("x" * 10_000, "is 10000 bytes long"),
        ("\ud800", "not valid Unicode"),
        ("a\udfffb", "not valid Unicode"),
    ],
)
def test_only_empty_nul_long_and_broken_names_are_refused(name: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem) as caught:
        check_name(name, what="database")
    assert caught.value.hint
    assert len(caught.value.message) < 200, "a message does not drown in the name"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=64))
def test_every_longer_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="bytes long"):
        check_name(name, what="database")


@given(UNICODE.filter(fits))
def test_a_user_may_have_any_name_but_those_that_postgres_keeps(name: str) -> None:
    if name.startswith("pg_") or name in {"public", "none"}:
        with pytest.raises(InvalidInput, match="reserved by PostgreSQL"):
            check_username(name)
    else:
        assert check_username(name) == name


@pytest.mark.parametrize("name", ["pg_monitor", "pg_", "public", "none"])
def test_postgres_own_role_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="reserved by PostgreSQL") as caught:
        check_username(name)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["PG_monitor", "Public", "nonesuch", "pgadmin", "postgres"])
def test_names_that_only_look_like_reserved_ones_are_taken(name: str) -> None:
    assert check_username(name) == name


@pytest.mark.parametrize("password", ["", "a\0b", "a\nb", "a\rb", "x" * 1001, "é" * 501])
def test_passwords_that_cannot_survive_are_refused_without_being_repeated(password: str) -> None:
    with pytest.raises(InvalidInput, match=r"^password") as caught:
        check_password(password)
    assert not password or password not in caught.value.explain()


def test_a_password_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^password"):
        check_password("\ud800")


def test_a_password_of_a_thousand_bytes_is_taken() -> None:
    assert check_password("x" * 1000) == "x" * 1000


@pytest.mark.parametrize("name", ["shop-tests", "my shop", "数据库 🐘", "a'b\"c"])
def test_a_display_name_is_what_a_terminal_shows(name: str) -> None:
    assert check_display_name(name) == name


@pytest.mark.parametrize(
    "name", ["", " a", "a ", "a\nb", "a\x1b[31mb", "a\u2028b", "x" * 64, "x" * 10_000, "\ud800"]
)
def test_a_display_name_that_would_break_a_terminal_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"^instance name") as caught:
        check_display_name(name)
    assert caught.value.hint


def test_pairs_are_split_at_the_first_equals_sign() -> None:
    assert parse_pairs(["a=1", "b=", "c=x=y"], what="label") == {"a": "1", "b": "", "c": "x=y"}


@pytest.mark.parametrize("item", ["a", "", "=1"])
def test_a_pair_without_a_name_or_a_value_is_refused(item: str) -> None:
    with pytest.raises(InvalidInput, match=r"label .* has no `=`"):
        parse_pairs([item], what="label")


@pytest.mark.parametrize(
    "name", ["work_mem", "auto_explain.log_min_duration", "max_connections", "_x", "a$1"]
)
def test_settings_of_postgres_and_its_extensions_are_taken(name: str) -> None:
    assert check_settings({name: "any value at all"}) == {name: "any value at all"}


@pytest.mark.parametrize("name", ["Fsync", "MAX_CONNECTIONS", "fsync"])
def test_a_setting_in_another_case_is_the_same_setting(name: str) -> None:
    assert check_settings({name: "On"}) == {name.lower(): "On"}


@pytest.mark.parametrize("name", ["", "work mem", "a=b", "-c", "1a", "a.", ".a", "x\0", "x" * 99 + "!"])
def test_what_is_no_name_of_a_setting_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="is not the name of a PostgreSQL setting"):
        check_settings({name: "1"})


@pytest.mark.parametrize("name", ["port", "PORT", "listen_addresses", "data_directory", "hba_file"])
def test_settings_on_which_we_stand_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="belongs to dev-postgres-mcp") as caught:
        check_settings({name: "1"})
    assert caught.value.hint


def test_a_setting_cannot_hold_a_nul() -> None:
    with pytest.raises(InvalidInput, match="NUL"):
        check_settings({"work_mem": "4\0MB"})


def test_ids_are_twelve_characters_that_nobody_mixes_up() -> None:
    ids = {new_id() for _ in range(500)}
    assert len(ids) == 500
    assert all(len(each) == 12 and set(each) <= set(ID_ALPHABET) for each in ids)
    assert len(set(ID_ALPHABET)) == 32
    assert not set("01lo") & set(ID_ALPHABET)


def test_passwords_are_long_and_need_no_quoting() -> None:
    passwords = {new_password() for _ in range(100)}
    assert len(passwords) == 100
    for password in passwords:
        assert len(password) >= 24
        assert password.replace("-", "").replace("_", "").isalnum()


@given(st.text())
def test_a_shortened_text_is_the_text_or_its_beginning(text: str) -> None:
    short = shorten(text)
    assert len(short) <= 63
    assert short == text or (short.endswith("...") and text.startswith(short[:-3]))


@pytest.mark.parametrize(
    "image",
    [
        "postgres",
        "postgres:17",
        "pgvector/pgvector:pg17",
        "localhost:5000/a/b_c/d.e--f:Tag_1.2-3",
        "REGISTRY.example.com/pg:17",
        "[::1]:5000/pg:17",
        "127.0.0.1:32791/shop/postgres:of-1",
        f"postgres@sha256:{'a' * 64}",
        f"ghcr.io/x/postgres:17@sha256:{'0' * 64}",
    ],
)
def test_an_image_reference_is_taken(image: str) -> None:
    assert check_image(image) == image


@pytest.mark.parametrize(
    "image",
    [
        "",
        " postgres",
        "postgres\n",
        "Postgres:17",
        "a/Postgres:17",
        "-postgres",
        "postgres:",
        "postgres:-17",
        "postgres:1 7",
        "postgres:" + "x" * 129,
        "postgres@sha256:abc",
        "postgres:17?all=1",
        "postgres:17#x",
        "../postgres",
        "postgres/../../info",
        "postgres//x",
        "postgres%2fx",
        "https://example.com/postgres",
        "\u043f\u0433:17",
        "postgres:\uff11\uff17",
        "x" * 513,
        "a-" * 20_000,
    ],
)
def test_what_is_no_image_reference_is_refused_with_an_example(image: str) -> None:
    with pytest.raises(InvalidInput, match="is no image reference") as caught:
        check_image(image)
    assert "postgres:17" in caught.value.hint
    assert len(caught.value.explain()) < 300


@pytest.mark.parametrize(
    "text, shown",
    [
        ("tcp://me:secret@engine:2376", "tcp://me:***@engine:2376"),
        ("see tcp://a:b@c and https://d:e@f/g", "see tcp://a:***@c and https://d:***@f/g"),
        ("ssh://me@engine", "ssh://me@engine"),
        ("unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
        ("tcp://engine:2376", "tcp://engine:2376"),
    ],
)
def test_the_password_of_a_url_is_struck_out(text: str, shown: str) -> None:
    assert hide_userinfo(text) == shown


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("90s", 90),
        ("15m", 900),
        ("8h", 28_800),
        ("2d", 172_800),
        ("1.5h", 5_400),
        ("1s", 1),
        ("3650d", MAX_DURATION),
        (" 8H ", 28_800),
        ("none", None),
        (" None ", None),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "8",
        "8 h",
        "0s",
        "0.5s",
        "-1h",
        "1h30m",
        "1w",
        "1e3s",
        "nan",
        "inf",
        "3651d",
        "9" * 400 + "d",
        "٣h",
        "never",
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"ttl .* is not a duration of a second to ten years") as caught:
        parse_duration(text, what="ttl")
    assert caught.value.hint == "write it as 90s, 15m, 8h, 2d or none"
    assert len(caught.value.explain()) < 300


@given(st.none() | st.integers(1, MAX_DURATION).map(float))
def test_a_rendered_duration_reads_back(seconds: float | None) -> None:
    assert parse_duration(render_duration(seconds)) == seconds


@pytest.mark.parametrize(
    "seconds, text", [(None, "none"), (90, "90s"), (120, "2m"), (86_400, "1d"), (5_400, "90m"), (0, "0d")]
)
def test_a_duration_is_shown_in_its_largest_whole_unit(seconds: float | None, text: str) -> None:
    assert render_duration(seconds) == text


@pytest.mark.parametrize("name", ["a", "0", "monday", "Shop-2026.11_01", "x" * 63])
def test_a_name_for_a_seed_or_snapshot_is_what_a_person_types(name: str) -> None:
    assert check_seed(name) == name


@pytest.mark.parametrize(
    "name", ["", "-a", ".a", "_a", "a b", "a/b", "a\n", "ä", "x" * 64, "a:b", "x" * 10_000]
)
def test_other_names_for_a_seed_or_snapshot_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be given") as caught:
        check_seed(name)
    assert len(caught.value.explain()) < 300
