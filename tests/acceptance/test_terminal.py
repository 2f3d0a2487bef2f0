"""A person at a terminal: questions, an interactive psql, Ctrl-C."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.program import Program

pytestmark = [
    pytest.mark.wheel,
    pytest.mark.docker,
    pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: no pseudo-terminals there"),
]

SLEEPERS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"


def test_drop_asks_before_it_drops(
    program: Program, instance: dict[str, Any], left: Callable[[], list[str]]
) -> None:
    with program.on_terminal("postgres", "drop", instance["id"]) as terminal:
        terminal.expect("Go on? [y/N]")
        assert "This drops with all data:" in terminal.screen
        assert f"  {instance['id']} ({instance['name']})" in terminal.screen.splitlines()
        terminal.enter("n\n")
        assert terminal.finish() == 1
    assert len(left()) == 1
    with program.on_terminal("postgres", "drop", instance["id"]) as terminal:
        terminal.expect("[y/N]")
        terminal.enter("y\n")
        terminal.expect("dropped")
        assert terminal.finish() == 0
    assert left() == []


def test_drop_with_force_does_not_ask(program: Program, instance: dict[str, Any]) -> None:
    with program.on_terminal("postgres", "drop", instance["id"], "--force") as terminal:
        assert terminal.finish() == 0
    assert "[y/N]" not in terminal.screen
    assert "dropped" in terminal.screen


def test_drop_all_asks_and_a_no_keeps_everything(
    program: Program, instance: dict[str, Any], left: Callable[[], list[str]]
) -> None:
    with program.on_terminal("postgres", "drop", "--all") as terminal:
        terminal.expect("[y/N]")
        assert f"  {instance['id']} ({instance['name']})" in terminal.screen.splitlines()
        terminal.enter("n\n")
        assert terminal.finish() == 1
    assert len(left()) == 1


def test_psql_is_interactive(program: Program, resident: dict[str, Any]) -> None:
    with program.on_terminal("postgres", "psql", resident["id"]) as terminal:
        terminal.expect("postgres=#")
        terminal.enter("select 40+2;\n")
        terminal.expect(" 42")
        terminal.enter("\\q\n")
        assert terminal.finish() == 0


def test_ctrl_c_in_psql_cancels_the_query_and_not_psql(program: Program, resident: dict[str, Any]) -> None:
    with program.on_terminal("postgres", "psql", resident["id"]) as terminal:
        terminal.expect("postgres=#")
        terminal.enter("select pg_sleep(600);\n")
        with psycopg.connect(resident["dsn"], autocommit=True) as connection:
            while connection.execute(SLEEPERS).fetchone() == (0,):
                assert not terminal.ended
        terminal.enter("\x03")
        terminal.expect("canceling statement due to user request")
        terminal.enter("\\q\n")
        assert terminal.finish() == 0


def test_ctrl_c_in_a_create_takes_the_bar_away_and_leaves_nothing(
    program: Program, left: Callable[[], list[str]]
) -> None:
    (program.directory / "slow.sql").write_text("SELECT pg_sleep(600)", encoding="utf-8")
    with program.on_terminal("postgres", "create", "--init", "slow.sql") as terminal:
        terminal.expect("waiting for the first login")
        terminal.enter("\x03")
        assert terminal.finish() == 130
    assert "Traceback" not in terminal.screen
    assert left() == []


def test_a_create_on_a_terminal_ends_with_the_instance(program: Program) -> None:
    with program.on_terminal("postgres", "create", "--name", "seen") as terminal:
        terminal.expect("dsn           postgresql://")
        assert terminal.finish() == 0
    assert "seen" in terminal.screen
