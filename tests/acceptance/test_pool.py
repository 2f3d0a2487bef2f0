"""The warm pool: a server keeps a spare, a create takes it, and no spare outlives its server for long."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.data import fetch
from tests.acceptance.wire import RawSession
from tests.helpers.stages import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.program import Program
    from tests.helpers.stages import DockerStage

pytestmark = [pytest.mark.wheel, pytest.mark.docker]
posix = pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: no such signals there")

SPARE = "mcp-postgres-spare-"
SPARE_FILE = "/var/lib/dev-postgres-mcp/state/spare"


@pytest.fixture
def spares(left: Callable[[], list[str]]) -> Callable[[], list[str]]:
    """The ids of the spares that the test's own servers keep."""
    return lambda: [name.removeprefix(SPARE) for name in left() if name.startswith(SPARE)]


def wait_spare(spares: Callable[[], list[str]], *, other_than: str = "") -> str:
    """Wait for a spare and return its id."""
    wait_until(lambda: set(spares()) - {other_than}, seconds=90)
    (spare,) = set(spares()) - {other_than}
    return spare


def end(session: RawSession, how: str) -> int:
    """End a server and return its exit code."""
    if how == "EOF":
        session.end_input()
    else:
        session.process.send_signal(signal.Signals[how])
    return session.wait_end()[0]


def test_a_create_takes_the_spare_and_another_one_takes_its_place(
    pooling: Program, spares: Callable[[], list[str]], left: Callable[[], list[str]]
) -> None:
    with RawSession(pooling) as session:
        spare = wait_spare(spares)
        asked = {"name": "warm", "database": "shop", "username": "keeper", "labels": {"suite": "pool"}}
        request = session.send("tools/call", name="create_postgres_instance", arguments=asked)
        made = session.wait_answer(request)["result"]["structuredContent"]
        assert made["id"] == spare
        assert not any("starting" in step["message"] for step in session.progress(request))
        assert {key: made[key] for key in asked} == asked
        assert fetch(made, "SELECT current_database() || ' ' || current_user") == ["shop keeper"]
        assert fetch(made, "SELECT datname::text FROM pg_database WHERE NOT datistemplate ORDER BY 1") == [
            "postgres",
            "shop",
        ]
        assert session.call("get_postgres_instance", id=spare)["structuredContent"] == made
        wait_spare(spares, other_than=spare)
    assert left() == [f"mcp-postgres-{made['id']}"], "the instance stays, its server's spare does not"


def test_a_spare_is_not_listed_counted_or_found_as_an_instance(
    pooling: Program, spares: Callable[[], list[str]]
) -> None:
    with RawSession(pooling) as session:
        spare = wait_spare(spares)
        listed = session.call("list_postgres_instances")["structuredContent"]["instances"]
        assert spare not in [instance["id"] for instance in listed]
        assert session.call("get_postgres_instance", id=spare)["isError"] is True
        assert session.call("drop_postgres_instance", id=spare)["structuredContent"]["outcome"] == (
            "already_gone"
        )
        assert spares() == [spare]


def test_the_shell_takes_a_servers_spare_too(pooling: Program, spares: Callable[[], list[str]]) -> None:
    with RawSession(pooling):
        spare = wait_spare(spares)
        made = pooling.run("postgres", "create", "--format", "json")
        assert made.data["id"] == spare
        assert made.data["idle_timeout"] is None, "what it is told is the shell's, whoever kept it"
        assert made.data["owner"]["process"].endswith("postgres create")
        assert "starting" not in made.stderr


@pytest.mark.parametrize(
    "asked",
    [
        {"memory": "256m"},
        {"settings": {"work_mem": "33MB"}},
        {"image": "postgres:17-alpine"},
    ],
)
def test_what_a_spare_cannot_become_is_started_by_itself(
    pooling: Program, spares: Callable[[], list[str]], asked: dict[str, Any]
) -> None:
    with RawSession(pooling) as session:
        spare = wait_spare(spares)
        made = session.call("create_postgres_instance", **asked)["structuredContent"]
        assert made["id"] != spare
        assert made["status"] == "ready"
        assert spares() == [spare]


@pytest.mark.parametrize("how", ["EOF", pytest.param("SIGTERM", marks=posix)])
def test_a_server_takes_its_spares_along(
    pooling: Program, spares: Callable[[], list[str]], left: Callable[[], list[str]], how: str
) -> None:
    with RawSession(pooling) as session:
        wait_spare(spares)
        assert end(session, how) == (0 if how == "EOF" else 128 + signal.SIGTERM)
    assert left() == []
    assert "Traceback" not in session.said


@pytest.mark.parametrize("how", ["EOF", pytest.param("SIGTERM", marks=posix)])
def test_a_server_that_ends_while_it_starts_a_spare_leaves_nothing(
    pooling: Program, left: Callable[[], list[str]], how: str
) -> None:
    with RawSession(pooling) as session:
        wait_until(left, seconds=90)
        end(session, how)
    assert left() == []
    assert "Traceback" not in session.said


@posix
def test_a_killed_servers_spare_ends_by_itself_and_a_living_ones_does_not(
    docker_stage: DockerStage,
    pooling: Program,
    spares: Callable[[], list[str]],
    left: Callable[[], list[str]],
) -> None:
    with RawSession(pooling.having(DEV_POSTGRES_MCP_SPARE_TTL="6s")) as session:
        spare = wait_spare(spares)

        def spare_until() -> int:
            return int(docker_stage.run(f"{SPARE}{spare}", f"cat {SPARE_FILE}"))

        first = spare_until()
        wait_until(lambda: spare_until() >= first + 6)  # so it has lived on beyond its first end
        session.process.kill()
        session.wait_end()
    assert spares() == [spare]
    wait_until(lambda: left() == [])


def test_the_pool_is_filled_shown_and_drained_from_the_shell(
    pooling: Program, spares: Callable[[], list[str]]
) -> None:
    filled = pooling.run("postgres", "pool", "fill", "--size", "2", "--ttl", "5m", "--format", "json").data
    own = sorted(spare["id"] for spare in filled["spares"] if spare["id"] in spares())
    assert len(own) == 2
    again = pooling.run("postgres", "pool", "fill", "--size", "2", "-q")
    assert set(own) <= set(again.stdout.split())
    assert sorted(spares()) == own, "a full pool is left as it is"
    status = pooling.run("postgres", "pool", "status")
    assert status.stdout.startswith("SPARE ")
    assert all(spare in status.stdout for spare in own)
    assert "each `mcp serve` keeps 1 (setting `pool_size`)" in status.stderr
    assert pooling.run("postgres", "create", "-q").stdout.strip() in own
    assert len(spares()) == 1, "nobody fills it again"


def test_a_pool_of_no_spares_stays_empty(program: Program, left: Callable[[], list[str]]) -> None:
    filled = program.run("postgres", "pool", "fill")
    assert filled.stdout.startswith("SPARE ")
    assert "nothing to claim: a server keeps none: raise the setting `pool_size`" in filled.stderr
    assert left() == []
