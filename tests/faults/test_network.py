"""Our one network: made once however many ask for it, made anew when it is gone, and closed to the outside."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.integration.creators import create_in_processes
from tests.integration.shell import run_inside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.second_engine import SecondEngine

pytestmark = pytest.mark.docker


def test_processes_that_need_the_first_network_at_once_make_one(engine: SecondEngine) -> None:
    for _ in range(2):
        engine.clear()
        assert engine.networks() == []
        created = create_in_processes(3, 1, settings={"docker_host": engine.address}, prefix=engine.enter())
        assert [one.text for one in created if one.error] == []
        (network,) = engine.networks()
        modes = {
            engine.docker("inspect", "--format", "{{.HostConfig.NetworkMode}}", one.container_id)
            for one in created
        }
        assert {mode[:12] for mode in modes} == {network}


def test_clients_without_a_common_lock_agree_on_one_network(engine: SecondEngine) -> None:
    """As on several machines: each has a state directory, and thus a lock, of its own."""
    children = [
        engine.begin("postgres", "create", state_home=engine.home / f"state-{number}") for number in range(3)
    ]
    talk = [child.communicate(timeout=60)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0], talk
    assert len(engine.networks()) == 1


def test_a_network_that_was_removed_is_made_anew(engine: SecondEngine) -> None:
    first = engine.ask("create")
    (before,) = engine.networks()
    engine.ask("drop", first["id"], "--force")
    engine.docker("network", "prune", "--force")
    assert engine.networks() == []
    second = engine.ask("create")
    assert engine.ask("health-check", second["id"])["healthy"]
    (after,) = engine.networks()
    assert after != before


def test_a_foreign_network_of_our_name_is_left_alone(engine: SecondEngine) -> None:
    foreign = engine.docker("network", "create", "dev-postgres-mcp")
    try:
        instance = engine.ask("create")
        assert engine.ask("health-check", instance["id"])["healthy"]
        (ours,) = engine.networks()
        assert not foreign.startswith(ours)
    finally:
        engine.clear()
        engine.docker("network", "rm", foreign)


OUTSIDE = "198.51.100.2"
"""RFC 5737: for documentation; here the other end of a cable out of the engine's machine."""


@pytest.fixture
def outside(engine: SecondEngine) -> Iterator[str]:
    """A machine beside the engine's that answers, and knows no way to the engine's containers."""
    listen = f"import socket as s; l = s.create_server(('{OUTSIDE}', 80)); print('up', flush=True)\nwhile True: l.accept()"
    script = 'echo $$; read _; ip link set lo up; ip addr add "$0/24" dev cable; ip link set cable up; exec python3 -c "$1"'
    with subprocess.Popen(
        engine.enter("unshare", "--net", "sh", "-c", script, OUTSIDE, listen),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as machine:
        assert machine.stdin is not None
        assert machine.stdout is not None
        pid = machine.stdout.readline().strip()
        for command in (
            f"ip link add uplink type veth peer name cable netns {pid}",
            "ip addr add 198.51.100.1/24 dev uplink",
            "ip link set uplink up",
        ):
            subprocess.run(engine.enter(*command.split()), check=True)
        machine.stdin.write("\n")
        machine.stdin.flush()
        assert machine.stdout.readline() == "up\n"
        yield OUTSIDE
        machine.kill()


def test_nothing_gets_out_of_an_instance_where_others_do(engine: SecondEngine, outside: str) -> None:
    instance = engine.ask("create")
    control = engine.docker("network", "create", "control")
    knock = ("timeout", "2", "bash", "-c", f"exec 3<>/dev/tcp/{outside}/80")
    ordinary = engine.docker(
        *("run", "--detach", "--network", control, "--entrypoint", "sleep", "postgres:17", "600")
    )
    try:
        assert run_inside(ordinary, *knock, host=engine.address).returncode == 0
        assert run_inside(instance["container_id"], *knock, host=engine.address).returncode != 0
    finally:
        engine.docker("rm", "--force", "--volumes", ordinary)
        engine.docker("network", "rm", control)
