"""A `.env` keeps all that is not ours, and what is ours reads the same for python-dotenv and for a shell."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from dotenv import dotenv_values
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dev_postgres_mcp.env_files import is_readable_by_others, set_variables, write_variables
from dev_postgres_mcp.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

posix = pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: no such modes there")
no_shell = pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: no `sh` there")

NAMES = ("DATABASE_URL", "PGPASSWORD")
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)
TRICKY = st.text(st.sampled_from("a #='\"\\$`~!{}()&|;<>*?[]\n\té-%"), max_size=12)
VALUES = st.one_of(TEXTS, TRICKY)
LINES = st.lists(
    st.sampled_from(
        [
            "",
            "# a comment",
            "  # an indented one",
            "OTHER=1",
            "export TOKEN='a b'  # kept",
            'SEVERAL="first\nDATABASE_URL=not this\nlast"',
            "EMPTY=",
            "SPACED = x y  # z",
            "DATABASE_URL=old",
            "export DATABASE_URL='old one'   # theirs",
            'DATABASE_URL="old\ntwo"',
            "DATABASE_URL",
            "DATABASE_URL= # nothing yet",
            "  DATABASE_URL =old#er # why",
            "XDATABASE_URL=1",
            "PGPASSWORD=old $x",
            "if [ -f x ]; then . x; fi",
        ]
    ),
    max_size=8,
)


def read(text: str) -> dict[str, str | None]:
    return dict(dotenv_values(stream=StringIO(text)))


def is_writable(value: str) -> bool:
    """Whether one kind of quotes says it to both: single ones without escapes, double ones without a shell's signs."""
    return "${" not in value and not (set("'\\") & set(value) and set("$`") & set(value))


def ours(text: str) -> dict[str, str | None]:
    return {name: value for name, value in read(text).items() if name in NAMES}


@given(lines=LINES, newline=st.sampled_from(["\n", "\r\n"]), ended=st.booleans(), value=VALUES)
def test_what_is_set_is_read_and_nothing_else_changes(
    lines: list[str], newline: str, ended: bool, value: str
) -> None:
    before = newline.join(lines) + newline * (ended and bool(lines))
    variables = dict(zip(NAMES, ("postgresql://u:p@127.0.0.1:1/d", value), strict=True))
    if not is_writable(value):
        with pytest.raises(InvalidInput, match="PGPASSWORD"):
            set_variables(before, variables)
        return
    after = set_variables(before, variables)
    assert ours(after) == variables
    assert {name: text for name, text in read(after).items() if name not in NAMES} == {
        name: text for name, text in read(before).items() if name not in NAMES
    }
    assert set_variables(after, variables) == after, "a second time changes nothing"


@given(before=st.text(st.sampled_from("AB='\"\\ #\n\r$")), value=VALUES)
def test_a_file_that_is_no_dotenv_file_is_refused_or_kept(before: str, value: str) -> None:
    try:
        after = set_variables(before, {"PGPASSWORD": value})
    except InvalidInput:
        return
    assert after.startswith(before)
    plain = dotenv_values(stream=StringIO(before), interpolate=False)
    assert dict(dotenv_values(stream=StringIO(after), interpolate=False)) == {**plain, "PGPASSWORD": value}


@no_shell
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(VALUES, min_size=1, max_size=20))
def test_a_shell_reads_what_dotenv_reads(tmp_path: Path, values: list[str]) -> None:
    written = {f"V{number}": value for number, value in enumerate(values) if is_writable(value)}
    assume(written)
    file = tmp_path / ".env"
    file.write_text("# mine\nexport V0='old'#er\n", encoding="utf-8")
    write_variables(file, written)
    script = '. ./.env; for name in "$@"; do eval "printf %s \\"\\$$name\\""; printf "\\000"; done'
    done = subprocess.run(["sh", "-c", script, "sh", *written], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == list(written.values())
    read_back = dotenv_values(file)
    assert {name: read_back[name] for name in written} == written


@pytest.mark.parametrize(
    "before, after",
    [
        ("", "A=new\n"),
        ("B=1", "B=1\nA=new\n"),
        ("B=1\r\n", "B=1\r\nA=new\r\n"),
        ("A=old\n", "A=new\n"),
        ("A=old", "A=new"),
        ("\n\n  export A = 'old'# why\nB=1\n", "\n\n  export A=new # why\nB=1\n"),
        ("A=old # why\n", "A=new # why\n"),
        ("A= # why\n", "A=new # why\n"),
        ("A=o#ld # why\n", "A=new # why\n"),
        ('A="o\'l\\"d\nmore" # why\n', "A=new # why\n"),
        ("A=1\nB=1\nA=2\n", "A=new\nB=1\nA=new\n"),
        ("export A\n", "export A=new\n"),
        ("#A=old\n", "#A=old\nA=new\n"),
        ('B="\nA=1\n"\n', 'B="\nA=1\n"\nA=new\n'),
        ("\ufeffB=1\n", "\ufeffB=1\nA=new\n"),
    ],
)
def test_a_variable_is_set_where_it_stands_else_at_the_end(before: str, after: str) -> None:
    assert set_variables(before, {"A": "new"}) == after


@pytest.mark.parametrize(
    "value, written",
    [
        ("postgresql://u:p%40@127.0.0.1:15432/d", "postgresql://u:p%40@127.0.0.1:15432/d"),
        ("", "''"),
        ("a b", "'a b'"),
        ("~", "'~'"),
        ("$HOME", "'$HOME'"),
        ("it's", '"it\'s"'),
        ('a\\"b', '"a\\\\\\"b"'),
    ],
)
def test_a_value_is_quoted_only_when_it_has_to_be(value: str, written: str) -> None:
    assert set_variables("", {"A": value}) == f"A={written}\n"


@pytest.mark.parametrize("value", ["it's $5", "`'", "\\$", "${HOME}", "a\rb", "a\0b"])
def test_a_value_that_one_of_the_two_would_misread_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        set_variables("", {"PGDATABASE": value})
    assert "PGDATABASE" in caught.value.message
    assert value not in caught.value.explain(), "it may be a password"


def test_a_quote_that_is_not_closed_is_told_instead_of_hiding_what_is_written() -> None:
    with pytest.raises(InvalidInput, match="line by line"):
        set_variables('B="open\n', {"A": 'a"b\\'})


def test_bytes_that_are_no_text_stay(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"# caf\xe9\r\nB=\xff\r\n")
    write_variables(file, {"A": "new"})
    assert file.read_bytes() == b"# caf\xe9\r\nB=\xff\r\nA=new\r\n"


@posix
def test_a_new_file_is_its_owners_alone_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    write_variables(file, {"A": "1"})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not is_readable_by_others(file)
    file.chmod(0o640)
    write_variables(file, {"A": "2"})
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert is_readable_by_others(file)
    assert file.read_text() == "A=2\n"


@posix
def test_a_link_stays_one_and_what_it_names_is_written(tmp_path: Path) -> None:
    (tmp_path / "shared").write_text("B=1\n")
    (tmp_path / ".env").symlink_to("shared")
    write_variables(tmp_path / ".env", {"A": "1"})
    assert (tmp_path / ".env").is_symlink()
    assert (tmp_path / "shared").read_text() == "B=1\nA=1\n"


@posix
def test_what_cannot_be_written_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("", "pipe", "absent/.env"):
        with pytest.raises(InvalidInput) as caught:
            write_variables(tmp_path / name, {"A": "1"})
        assert str(tmp_path) in caught.value.message
    (tmp_path / ".env").write_text("B=1\n")
    with pytest.raises(InvalidInput):
        write_variables(tmp_path / ".env", {"A": "${B}"})
    assert (tmp_path / ".env").read_text() == "B=1\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env", "pipe"], "no half-written file"
