"""No two creators ever get the same port: threads, processes and strangers."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.errors import PortsExhausted
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.model import Outcome
from tests.helpers.stages import ROOMY, DockerStage, build_app
from tests.integration.creators import create_in_processes
from tests.integration.queries import value
from tests.integration.shell import docker, exists

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance
    from tests.integration.creators import Created

pytestmark = pytest.mark.docker


def free_ports(count: int) -> range:
    """Return consecutive ports on which nobody listens, outside the default range."""
    for first in range(26000, 32000, count):
        ports = range(first, first + count)
        if all(nobody_listens(port) for port in ports):
            return ports
    pytest.fail("no free ports")


def nobody_listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def crowd(stage: DockerStage) -> dict[str, object]:
    """Settings of creators in other processes, whose instances are put away with the stage."""
    return {**ROOMY, "session": stage.session, "version": stage.version}


def drop_all(program: App, created: list[Created]) -> None:
    drops = program.manager.drop([one.id for one in created if one.id])
    assert {drop.outcome for drop in drops} <= {Outcome.DROPPED}
    assert not any(exists(one.container_id) for one in created if one.id)


def test_twenty_servers_from_four_processes_all_work(program: App, crowd: dict[str, object]) -> None:
    started = time.monotonic()
    created = create_in_processes(4, 5, settings=crowd)
    print(f"20 creates in 4 processes: {time.monotonic() - started:.1f} s")
    try:
        assert [one.text for one in created if one.error] == []
        assert len(created) == len({one.id for one in created}) == 20
        assert len({one.port for one in created}) == 20
        passwords = [
            value(one.dsn, "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'") for one in created
        ]
        assert len(set(passwords)) == 20
        names = {docker("inspect", "--format", "{{.Name}}", one.container_id) for one in created}
        assert names == {f"/mcp-postgres-{one.id}" for one in created}
    finally:
        drop_all(program, created)


def test_three_ports_serve_exactly_three_of_six_creators(
    stage: DockerStage, program: App, crowd: dict[str, object]
) -> None:
    ports = free_ports(3)
    created = create_in_processes(2, 3, settings={**crowd, "ports": f"{ports[0]}-{ports[-1]}"})
    try:
        working = [one for one in created if one.id]
        assert {one.port for one in working} == set(ports)
        assert len(working) == 3
        assert {one.error for one in created if not one.id} == {"ports_exhausted"}
        assert all("widen the range" in one.text for one in created if not one.id)
        here = {found.id for found in stage.runtime().list() if found.endpoint.port in ports}
        assert here == {one.id for one in working}
        assert [value(one.dsn, "SELECT 1") for one in working] == [1, 1, 1]
    finally:
        drop_all(program, created)


@pytest.fixture
def held_by_a_process() -> Iterator[range]:
    """Two ports, the first of which a foreign process listens on."""
    ports = free_ports(2)
    with socket.create_server(("127.0.0.1", ports[0])):
        yield ports


@pytest.fixture
def held_by_a_container(stage: DockerStage) -> Iterator[range]:
    """Two ports, the first of which a foreign container publishes."""
    ports = free_ports(2)
    container = docker(
        *("run", "--detach", "--label", f"tests.session={stage.session}", "--entrypoint", "sleep"),
        *("--publish", f"127.0.0.1:{ports[0]}:80", f"postgres:{stage.version}", "600"),
    )
    yield ports
    docker("rm", "--force", "--volumes", container)


@pytest.mark.parametrize("holder", ["held_by_a_process", "held_by_a_container"])
def test_a_port_that_a_stranger_holds_is_passed_over(
    stage: DockerStage, request: pytest.FixtureRequest, holder: str
) -> None:
    ports: range = request.getfixturevalue(holder)
    app = build_app(stage, ports=ports)
    instance = app.manager.create(build_spec(app.defaults))
    try:
        assert instance.endpoint.port == ports[1]
        with pytest.raises(PortsExhausted):
            app.manager.create(build_spec(app.defaults))
        here = [found.id for found in app.runtime.list() if found.endpoint.port in ports]
        assert here == [instance.id]
    finally:
        app.manager.drop([instance.id])


@pytest.mark.alone
def test_parallel_creates_overlap(program: App, tmp_path: Path) -> None:
    """Each waits for its own server; with a lock around that, four would take four times one."""
    init = tmp_path / "slow.sql"
    init.write_text("SELECT pg_sleep(2);")  # a wait that no shortage of processors can stretch
    spec = build_spec(program.defaults, init=init)
    waiting: list[float] = []
    done: list[float] = []

    def create(_: int) -> Instance:
        instance = program.manager.create(
            spec, progress=lambda step: waiting.append(time.monotonic()) if "login" in step.message else None
        )
        done.append(time.monotonic())
        return instance

    started = time.monotonic()
    made = [create(0)]
    alone = time.monotonic() - started
    waiting.clear()
    done.clear()
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        made += pool.map(create, range(4))
    together = time.monotonic() - started
    program.manager.drop([instance.id for instance in made])
    print(f"one create {alone:.2f} s, four at once {together:.2f} s: {together / alone:.1f} times")
    assert len(waiting) == 4
    assert max(waiting) < min(done), "all four wait for their servers at the same time"
    assert together < 3.5 * alone
