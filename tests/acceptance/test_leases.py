"""How long an instance lives: what is asked for, shown, moved and refused, and that it ends."""

from __future__ import annotations

import signal
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.wire import RawSession, text_of
from tests.helpers.stages import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.program import Program

pytestmark = [pytest.mark.wheel, pytest.mark.docker, pytest.mark.usefixtures("unmeasured")]

DAY = 86_400
WEEK = 7 * DAY
FORM = ("--format", "json")


def seconds_left(instance: dict[str, Any]) -> float:
    """Until it ends by itself."""
    return (datetime.fromisoformat(instance["expires_at"]) - datetime.now(UTC)).total_seconds()


def test_an_instance_of_the_shell_lives_a_day_and_is_never_too_idle(instance: dict[str, Any]) -> None:
    assert seconds_left(instance) == pytest.approx(DAY, abs=60)
    assert instance["idle_timeout"] is None


def test_a_create_says_when_the_instance_will_end_and_get_and_list_agree(program: Program) -> None:
    made = program.run("postgres", "create", "--ttl", "3h", "--idle-timeout", "30m", *FORM).data
    assert seconds_left(made) == pytest.approx(10_800, abs=60)
    assert made["idle_timeout"] == 1800
    got = program.run("postgres", "get", made["id"], *FORM).data
    listed = program.run("postgres", "list", *FORM).data["instances"]
    for seen in (got, next(one for one in listed if one["id"] == made["id"])):
        assert (seen["expires_at"], seen["idle_timeout"]) == (made["expires_at"], 1800)
    rows = program.run("postgres", "list").stdout.splitlines()
    assert "  ENDS IN  " in rows[0]
    assert "  3 h, idle 30m  " in next(row for row in rows if row.startswith(made["id"]))
    assert "idle_timeout  30m\n" in program.run("postgres", "get", made["id"]).stdout


def test_no_lifetime_means_as_long_as_is_allowed(program: Program) -> None:
    made = program.run("postgres", "create", "--ttl", "none", "--idle-timeout", "none", *FORM).data
    assert seconds_left(made) == pytest.approx(WEEK, abs=60)
    assert made["idle_timeout"] is None
    endless = program.run("--set", "max_lifetime=none", "postgres", "create", "--ttl", "none", *FORM).data
    assert endless["expires_at"] is None


def test_extend_moves_the_end_and_the_idle_time_each_by_itself(
    program: Program, instance: dict[str, Any]
) -> None:
    extend = ("postgres", "extend", instance["id"])
    later = program.run(*extend, "--ttl", "2d", *FORM).data
    assert seconds_left(later) == pytest.approx(2 * DAY, abs=60)
    assert later | {"expires_at": 0} == instance | {"expires_at": 0}
    idle = program.run(*extend, "--idle-timeout", "1h", *FORM).data
    assert (idle["expires_at"], idle["idle_timeout"]) == (later["expires_at"], 3600)
    sooner = program.run(*extend, "--ttl", "10m", "--idle-timeout", "none", *FORM).data
    assert seconds_left(sooner) == pytest.approx(600, abs=60)
    assert sooner["idle_timeout"] is None
    most = program.run(*extend, "--ttl", "none", *FORM).data
    assert seconds_left(most) == pytest.approx(WEEK, abs=120)


def test_nobody_extends_beyond_the_longest_life_of_the_creation(
    program: Program, instance: dict[str, Any]
) -> None:
    wider = program.having(DEV_POSTGRES_MCP_MAX_LIFETIME="100d")
    for asker in (program, wider):
        done = asker.run("postgres", "extend", instance["id"], "--ttl", "8d", code=2)
        assert f"{instance['id']} may not live longer than until " in done.stderr
        assert "`max_lifetime` was fixed when it was created" in done.stderr
    assert program.run("postgres", "get", instance["id"], *FORM).data == instance


def test_over_mcp_an_instance_ends_after_two_idle_hours_and_is_extended(program: Program) -> None:
    with RawSession(program) as session:
        made = session.call("create_postgres_instance")["structuredContent"]
        assert made["idle_timeout"] == 7200
        asked = {"ttl": "90m", "idle_timeout": "15m"}
        other = session.call("create_postgres_instance", **asked)["structuredContent"]
        assert seconds_left(other) == pytest.approx(5400, abs=60)
        assert other["idle_timeout"] == 900
        extended = session.call("extend_postgres_instance", id=made["id"], ttl="2d", idle_timeout="none")
        assert seconds_left(extended["structuredContent"]) == pytest.approx(2 * DAY, abs=60)
        assert extended["structuredContent"]["idle_timeout"] is None
        assert extended["structuredContent"]["dsn"] == made["dsn"]
        for arguments, says in (
            ({"ttl": "8d"}, "may not live longer than until"),
            ({"ttl": "soon"}, "'soon' is not a duration"),
            ({}, "nothing to change is given"),
        ):
            refused = session.call("extend_postgres_instance", id=made["id"], **arguments)
            assert refused["isError"] is True
            assert says in text_of(refused)
            assert "hint: " in text_of(refused)


def test_a_health_check_warns_when_the_end_is_near(program: Program) -> None:
    made = program.run("postgres", "create", "--ttl", "5m", *FORM).data
    health = program.run("postgres", "health-check", made["id"], *FORM).data
    assert health["healthy"] is True
    assert health["hint"].startswith("it ends in ")
    assert "extend it if it is still needed" in program.run("postgres", "health-check", made["id"]).stdout
    program.run("postgres", "extend", made["id"], "--ttl", "1h")
    assert program.run("postgres", "health-check", made["id"], *FORM).data["hint"] is None


def test_what_is_over_is_gone_and_nobody_finds_it(program: Program, left: Callable[[], list[str]]) -> None:
    made, idle = (
        program.run("postgres", "create", option, "8s", *FORM).data for option in ("--ttl", "--idle-timeout")
    )
    wait_until(lambda: left() == [], seconds=60)
    assert not {made["id"], idle["id"]} & set(program.run("postgres", "list", "-q").stdout.split())
    program.run("postgres", "get", idle["id"], code=3)
    for command in (("get",), ("health-check",), ("extend", "--ttl", "1h"), ("snapshot", "take")):
        done = program.run("postgres", *command, made["id"], code=3)
        assert f"no instance answers to '{made['id']}'" in done.stderr
        assert "hint: " in done.stderr
    with RawSession(program) as session:
        for tool, arguments in (
            ("get_postgres_instance", {}),
            ("health_check_postgres", {}),
            ("extend_postgres_instance", {"ttl": "1h"}),
        ):
            refused = session.call(tool, id=made["id"], **arguments)
            assert refused["isError"] is True
            assert "hint: list the instances" in text_of(refused)
        dropped = session.call("drop_postgres_instance", id=made["id"])["structuredContent"]
        assert dropped["outcome"] == "already_gone"


@pytest.mark.parametrize(
    "how",
    [
        "EOF",
        pytest.param(
            "SIGTERM",
            marks=pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: no such signals there"),
        ),
    ],
)
def test_a_server_that_drops_on_exit_drops_what_it_made_and_nothing_else(
    program: Program, instance: dict[str, Any], left: Callable[[], list[str]], how: str
) -> None:
    with RawSession(program, serving=("--on-exit", "drop")) as session:
        made = session.call("create_postgres_instance")["structuredContent"]
        session.call("create_postgres_instance")
        branch = session.call("branch_postgres_instance", source=instance["id"])["structuredContent"]
        session.call("drop_postgres_instance", id=made["id"])
        assert len(left()) == 3
        if how == "EOF":
            session.end_input()
        else:
            session.process.send_signal(signal.Signals[how])
        assert session.wait_end()[0] == (0 if how == "EOF" else 128 + signal.SIGTERM)
    assert left() == [f"mcp-postgres-{instance['id']}"]
    assert branch["id"] not in program.run("postgres", "list", "-q").stdout.split()


def test_a_server_keeps_what_it_made_when_it_ends_in_order(
    program: Program, left: Callable[[], list[str]]
) -> None:
    with RawSession(program, serving=("--on-exit", "keep")) as session:
        made = session.call("create_postgres_instance")["structuredContent"]
    assert left() == [f"mcp-postgres-{made['id']}"]
