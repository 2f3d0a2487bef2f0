"""No Docker, no problem: the program on a machine without an engine, over MCP and from the shell."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from dev_postgres_mcp.runtimes.embedded import processes
from tests.acceptance.program import dead_engine, make_program
from tests.acceptance.test_demo import DEMO, STEPS
from tests.acceptance.wire import RawSession
from tests.helpers.stages import SYSTEM, wait_until

if TYPE_CHECKING:
    from tests.acceptance.program import Program

pytestmark = pytest.mark.skipif(
    sys.platform != "linux",
    reason=f"not on {SYSTEM}: nobody brings the programs of PostgreSQL 17 to its tests",
)


@pytest.fixture
def bare(tmp_path: Path) -> Program:
    """The program for a user without an engine, who leaves the choice of the runtime to it."""
    return make_program(tmp_path, dead_engine(tmp_path)).having(
        DEV_POSTGRES_MCP_RUNTIME="auto", XDG_STATE_HOME=str(tmp_path / "state")
    )


def state_of(program: Program) -> Path:
    return Path(program.environment["XDG_STATE_HOME"]) / "dev-postgres-mcp" / "embedded"


def data_of(program: Program, made: dict[str, Any]) -> str:
    plan = state_of(program) / "instances" / made["container_id"] / "plan.json"
    return str(json.loads(plan.read_text(encoding="utf-8"))["plan"]["data"])


def is_left(program: Program, data: str) -> bool:
    """Tell whether anything of instances is left."""
    instances = list((state_of(program) / "instances").iterdir())
    return bool(instances or Path(data).exists() or processes.working_in(data))


def test_a_create_says_where_it_lives_and_works_from_the_shell(bare: Program) -> None:
    made = bare.run("postgres", "create", "--name", "shop", "--format", "json").data
    assert (made["runtime"], made["version"], made["host"]) == ("embedded", "17", "127.0.0.1")
    data = data_of(bare, made)
    with psycopg.connect(made["dsn"], autocommit=True) as client:
        client.execute("CREATE TABLE fruit AS SELECT 'apple' AS name")
    said = bare.run("postgres", "psql", "shop", "--", "-Atc", "SELECT name FROM fruit")
    assert said.stdout == "apple\n"
    assert bare.run("postgres", "health-check", made["id"], "--format", "json").data["healthy"]
    assert [one["runtime"] for one in bare.run("postgres", "list", "--format", "json").data["instances"]] == [
        "embedded"
    ]
    assert "ready to accept connections" in bare.run("postgres", "logs", "shop").stdout
    bare.run("postgres", "drop", "shop")
    wait_until(lambda: not is_left(bare, data))


def test_time_travel_works_without_an_engine(bare: Program) -> None:
    made = bare.run("postgres", "create", "--format", "json").data
    bare.run("postgres", "psql", made["id"], "--", "-c", "CREATE TABLE kept AS SELECT 1 AS n")
    bare.run("postgres", "snapshot", "take", made["id"], "before")
    bare.run("postgres", "psql", made["id"], "--", "-c", "DROP TABLE kept")
    bare.run("postgres", "restore", made["id"], "before")
    assert bare.run("postgres", "psql", made["id"], "--", "-Atc", "SELECT n FROM kept").stdout == "1\n"
    bare.run("postgres", "try", made["id"], "--", "sh", "-c", "exit 3", code=3)
    bare.run("postgres", "drop", "--all", "--force")
    bare.run("postgres", "snapshot", "delete", "before")


def test_a_server_gives_spares_away_and_ends_with_nothing_left(bare: Program) -> None:
    with RawSession(bare.having(DEV_POSTGRES_MCP_POOL_SIZE="1"), serving=("--on-exit", "drop")) as session:
        session.greet()

        def spares() -> Any:
            return bare.run("postgres", "pool", "status", "--format", "json").data["spares"]

        wait_until(spares)
        (spare,) = spares()
        made = session.call("create_postgres_instance", database="shop")["structuredContent"]
        assert (made["id"], made["runtime"]) == (spare["id"], "embedded")
        data = data_of(bare, made)
        with psycopg.connect(made["dsn"]) as client:
            assert client.execute("SELECT current_database()").fetchone() == ("shop",)
    wait_until(lambda: not is_left(bare, data))


def test_an_image_of_somebody_elses_is_refused_with_the_way_out(bare: Program) -> None:
    refused = bare.run("postgres", "create", "--image", "pgvector/pgvector:pg17", code=6)
    assert "the embedded runtime has no images but postgres:" in refused.stderr
    assert "--runtime docker" in refused.stderr


def test_without_programs_it_says_what_was_tried_and_what_to_do(bare: Program) -> None:
    """Nobody brings PostgreSQL 14 to a test machine."""
    failed = bare.run("postgres", "create", "--version", "14", code=4)
    assert "no server programs of PostgreSQL 14 were found; tried:" in failed.stderr
    assert "no Docker engine to work with" in failed.stderr
    assert "hint: one of these" in failed.stderr


def test_the_runtime_that_is_named_is_the_one_that_is_used(bare: Program) -> None:
    failed = bare.run("--runtime", "docker", "postgres", "create", code=4)
    assert "no Docker engine to work with" in failed.stderr
    wrong = bare.run("--runtime", "podman", "postgres", "list", code=2)
    assert "runtime" in wrong.stderr


def test_doctor_shows_who_brings_the_programs(bare: Program) -> None:
    findings = bare.run("doctor", "--format", "json").data["findings"]
    details = [finding["detail"] for finding in findings if finding["check"] == "provider"]
    assert any("pg_trgm" in detail and "psql" in detail for detail in details)
    (engine,) = [finding for finding in findings if finding["check"] == "engine"]
    assert engine["detail"].startswith("embedded 17.")


def test_the_demo_needs_no_engine(bare: Program) -> None:
    done = bare.named(*DEMO).run()
    assert [line[11:37].strip() for line in done.stdout.splitlines()] == list(STEPS)
    assert "(embedded)" in done.stdout


@pytest.mark.docker
def test_docker_comes_first_when_an_engine_answers(program: Program) -> None:
    made = program.having(DEV_POSTGRES_MCP_RUNTIME="auto").run("postgres", "create", "--format", "json").data
    assert made["runtime"] == "docker"
