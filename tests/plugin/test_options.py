"""What cannot work is refused in a line or two, and the documents know every option."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.plugin.conftest import load_little

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("little")
ONE_TEST = "def test_it(postgres_database): pass"


@pytest.fixture
def little(clean: pytest.MonkeyPatch) -> None:
    """Runs that load no more plugins than they need."""
    load_little(clean)


@pytest.mark.parametrize(
    "options, reason",
    [
        (("--postgres-runtime", "cloud"), "--postgres-runtime: 'cloud' is none of auto, docker, embedded"),
        (("--postgres-keep", "some"), "--postgres-keep: 'some' is none of on-failure, always, never"),
        (("-o", "postgres_keep=some"), "--postgres-keep: 'some' is none of on-failure, always, never"),
        (("--postgres-version", "9"), "PostgreSQL version '9' is not offered"),
        (("--postgres-image", "No Image"), "'No Image' is no image reference"),
        (
            ("--postgres-version", "17", "--postgres-image", "postgres:17"),
            "both a version and an image are given",
        ),
        (("--postgres-template", "absent.sql"), "the template 'absent.sql' is nothing that can be run"),
        (("--postgres-template", "empty"), "holds no .sql file"),
        (("--postgres-template", "cmd: "), "the template command is empty"),
        (("--postgres-template-input", "*.none"), "the template input '*.none' matches no file"),
        (("-o", "postgres_reuse=perhaps"), "postgres_reuse: 'perhaps' is neither true nor false"),
    ],
)
def test_an_option_that_cannot_work_is_refused_before_any_test(
    offline: pytest.Pytester, options: tuple[str, ...], reason: str
) -> None:
    offline.makepyfile(ONE_TEST)
    offline.mkdir("empty")
    result = offline.runpytest_subprocess(*options, timeout=60)
    said = result.stdout.str() + result.stderr.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {reason}" in said or reason in said.partition("ERROR: ")[2].splitlines()[0]
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "options, reason",
    [
        (("--postgres-runtime", "docker"), "no.sock"),
        (("--postgres-template", "absent:make"), "the template 'absent:make' cannot be imported"),
    ],
)
def test_what_shows_only_at_work_is_the_error_of_the_fixture_in_a_few_lines(
    offline: pytest.Pytester, options: tuple[str, ...], reason: str
) -> None:
    offline.makepyfile(ONE_TEST)
    result = offline.runpytest_subprocess(*options, timeout=60)
    result.assert_outcomes(errors=1)
    said = result.stdout.str()
    assert "postgres: " in said
    assert "hint: " in said
    assert "dev_postgres_mcp/" not in said, "no traceback of ours"
    assert "ends by its lease" not in said, "there was never a server"
    assert reason in said


def test_the_settings_of_the_program_count_below_the_options(
    offline: pytest.Pytester, clean: pytest.MonkeyPatch
) -> None:
    clean.setenv("DEV_POSTGRES_MCP_VERSION", "9")
    offline.makepyfile(ONE_TEST)
    result = offline.runpytest_subprocess(timeout=60)
    result.assert_outcomes(errors=1)
    assert "version (from environment): PostgreSQL version '9' is not offered" in result.stdout.str()


def test_the_table_of_the_document_holds_every_option_and_ini_setting(offline: pytest.Pytester) -> None:
    offline.makepyfile("")
    said = offline.runpytest_subprocess("--help", timeout=60).stdout.str()
    options = dict.fromkeys(re.findall(r"^  (--postgres-[a-z-]+)", said, re.MULTILINE))
    settings = dict.fromkeys(re.findall(r"^  (postgres_\w+)", said, re.MULTILINE))
    document = (ROOT / "docs/pytest.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(--[a-z-]+)[^`]*` \| `(\w+)` \|", document, re.MULTILINE)
    assert [option for option, _ in rows] == list(options)
    assert [setting for _, setting in rows] == list(settings)
    fixtures = re.findall(r"^\| `(postgres_\w+)` \|", document, re.MULTILINE)
    listed = offline.runpytest_subprocess("--fixtures", timeout=60).stdout.str()
    assert sorted(fixtures) == sorted(re.findall(r"^(postgres_\w+)", listed, re.MULTILINE))
