"""The whole life of an instance on a real podman, through the program as its users start it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.runtimes.docker.state import STATE_DIRECTORY
from tests.helpers.stages import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from dev_postgres_mcp.runtimes.docker import DockerRuntime
    from tests.acceptance.program import Program
    from tests.podman.service import Podman

pytestmark = pytest.mark.docker

LISTEN = """\
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    sys.stdin.read()
"""


def test_an_instance_is_created_used_and_dropped(
    program: Program, image: str, runtime: DockerRuntime
) -> None:
    made = program.run("postgres", "create", "-d", "a b", "--extension", "hstore", "--format", "json").data

    listed = program.run("postgres", "list", "--format", "json").data["instances"]
    health = program.run("postgres", "health-check", made["id"], "--format", "json").data
    assert [(one["id"], one["status"]) for one in listed] == [(made["id"], "ready")]
    assert health["healthy"]
    assert health["memory_limit_bytes"] > health["memory_bytes"] > 0
    assert program.run("postgres", "get", made["id"], "--format", "json").data["dsn"] == made["dsn"]
    assert "ready to accept connections" in program.run("postgres", "logs", made["id"]).stdout

    dropped = program.run("postgres", "drop", made["id"], made["id"], "--force", "--format", "json").data

    assert {result["outcome"] for result in dropped["results"]} <= {"dropped", "already_gone"}
    assert runtime.list() == ()


def test_a_failed_init_script_says_why_and_leaves_nothing(
    program: Program, image: str, runtime: DockerRuntime, tmp_path: Path
) -> None:
    script = tmp_path / "bad.sql"
    script.write_text("select nonsense;")

    ended = program.run("postgres", "create", "--init", str(script), code=7)

    assert 'column "nonsense" does not exist' in ended.stderr
    assert runtime.list() == ()


def test_a_port_that_somebody_has_is_passed_over(podman: Podman, program: Program, image: str) -> None:
    listener = subprocess.Popen(
        [*podman.enter(files=False), sys.executable, "-c", LISTEN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert listener.stdout is not None
    try:
        port = int(listener.stdout.readline())

        only = program.run("--ports", f"{port}-{port}", "postgres", "create", code=5)
        made = program.run("--ports", f"{port}-{port + 1}", "postgres", "create", "--format", "json").data
    finally:
        listener.communicate()

    assert "every port of the range is taken" in only.stderr
    assert made["port"] == port + 1


def test_a_killed_server_leaves_its_exit_code(program: Program, image: str, runtime: DockerRuntime) -> None:
    made = program.run("postgres", "create", "--format", "json").data
    run_inside(runtime, made["container_id"], "kill -9 $(head -n 1 $PGDATA/postmaster.pid)")
    run_inside(runtime, made["container_id"], f"until [ -e {STATE_DIRECTORY}/exit ]; do :; done")

    assert program.run("postgres", "get", made["id"], "--format", "json").data["status"] == "exited"
    ended = program.run("postgres", "health-check", made["id"], code=1)
    assert "137" in ended.stdout


def run_inside(runtime: DockerRuntime, container_id: str, script: str) -> None:
    """Run a shell script in a container."""
    with runtime._connection.calling("running a script") as api:
        api.exec_start(api.exec_create(container_id, ["/bin/sh", "-c", script])["Id"])


def test_a_killed_container_is_gone(program: Program, image: str, runtime: DockerRuntime) -> None:
    made = program.run("postgres", "create", "--format", "json").data

    with runtime._connection.calling("killing the container") as api:
        api.kill(made["container_id"])

    wait_until(lambda: runtime.list() == ())
    program.run("postgres", "get", made["id"], code=3)
