"""The container contract, read back from the engine with its own tools."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.queries import dsn_of, value
from tests.integration.shell import LABEL, docker, inspect, logs, run_inside

if TYPE_CHECKING:
    from dev_postgres_mcp.model import Instance

pytestmark = pytest.mark.docker

HOME = "/var/lib/dev-postgres-mcp"
SECRET = f"{HOME}/secret"


@pytest.fixture(scope="module")
def details(shop: Instance) -> dict[str, Any]:
    return inspect(shop.container_id)


def test_the_container_is_named_after_the_instance(shop: Instance, details: dict[str, Any]) -> None:
    assert details["Name"] == f"/mcp-postgres-{shop.id}"


def test_all_labels_are_ours_and_say_what_never_changes(shop: Instance, details: dict[str, Any]) -> None:
    labels = {
        key.removeprefix(LABEL): text
        for key, text in details["Config"]["Labels"].items()
        if key.startswith(LABEL)
    }
    assert labels == labels | {
        "id": shop.id,
        "port": str(shop.endpoint.port),
        "version": "17",
        "image": "postgres:17",
        "base": inspect("postgres:17")["Id"],
        "memory": str(512 * 1024**2),
    }
    assert float(labels["cpus"]) == 1
    created, ready_by, hard_end = (
        datetime.fromisoformat(labels[key]) for key in ("created-at", "ready-by", "hard-end")
    )
    assert shop.created_at <= created < ready_by < hard_end
    assert shop.lease.expires_at is not None
    assert shop.lease.expires_at < hard_end


def test_what_may_change_or_is_somebodys_own_is_no_label(shop: Instance, details: dict[str, Any]) -> None:
    shown = json.dumps(details)
    assert shop.name == "the shop"
    for text in (shop.name, shop.owner.user, shop.owner.cwd, shop.owner.process):
        assert text
        assert text not in shown
    record = json.loads(run_inside(shop.container_id, "cat", f"{HOME}/state/record").stdout)
    assert (record["id"], record["name"], record["owner"]) == (shop.id, shop.name, asdict(shop.owner))


def test_the_engine_removes_it_when_it_ends_and_never_restarts_it(details: dict[str, Any]) -> None:
    assert details["HostConfig"]["AutoRemove"]
    assert details["HostConfig"]["RestartPolicy"]["Name"] in {"", "no"}


def test_the_dead_man_switch_is_its_first_process(shop: Instance) -> None:
    command = run_inside(shop.container_id, "cat", "/proc/1/cmdline").stdout.split("\0")
    assert command[:3] == ["/bin/sh", f"{HOME}/switch.sh", shop.id]
    parent = run_inside(
        shop.container_id, "sh", "-c", f"cat /proc/$(head -n 1 {HOME}/data/postmaster.pid)/status"
    ).stdout
    assert "PPid:\t1\n" in parent


def test_it_listens_on_the_loopback_only(shop: Instance, details: dict[str, Any]) -> None:
    published = [{"HostIp": "127.0.0.1", "HostPort": str(shop.endpoint.port)}]
    assert details["NetworkSettings"]["Ports"] == {"5432/tcp": published}
    assert details["HostConfig"]["PortBindings"] == {"5432/tcp": published}
    assert not details["HostConfig"]["PublishAllPorts"]


def test_it_may_use_512_mb_without_swap_and_one_cpu(details: dict[str, Any]) -> None:
    limits = details["HostConfig"]
    assert limits["Memory"] == limits["MemorySwap"] == 512 * 1024**2
    assert limits["NanoCpus"] == 1_000_000_000


def test_it_has_room_for_all_its_connections_and_for_parallel_queries(
    shop: Instance, details: dict[str, Any]
) -> None:
    connections = int(value(dsn_of(shop), "SHOW max_connections"))
    assert details["HostConfig"]["PidsLimit"] >= connections + 50
    assert details["HostConfig"]["ShmSize"] > 64 * 1024**2


def test_it_has_no_capability_and_can_gain_none(shop: Instance, details: dict[str, Any]) -> None:
    limits = details["HostConfig"]
    assert limits["CapDrop"] == ["ALL"]
    assert not limits["CapAdd"]
    assert not limits["Privileged"]
    assert any(option.startswith("no-new-privileges") for option in limits["SecurityOpt"])
    status = run_inside(shop.container_id, "cat", "/proc/1/status").stdout
    held = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {int(held[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert held["NoNewPrivs"] == "1"


def test_everything_in_it_runs_as_the_user_postgres(shop: Instance, details: dict[str, Any]) -> None:
    assert details["Config"]["User"] == "postgres"
    uid = run_inside(shop.container_id, "id", "-u", "postgres").stdout.strip()
    assert uid not in {"", "0"}
    owners = docker("top", shop.container_id, "-eo", "uid,pid").splitlines()[1:]
    assert {line.split()[0] for line in owners} == {uid}


def test_it_hangs_on_our_one_network_by_id(
    shop: Instance, neighbour: Instance, details: dict[str, Any]
) -> None:
    (attached,) = details["NetworkSettings"]["Networks"].values()
    network = inspect(attached["NetworkID"])
    assert details["HostConfig"]["NetworkMode"] == network["Id"]
    assert inspect(neighbour.container_id)["HostConfig"]["NetworkMode"] == network["Id"]
    assert network["Name"].startswith("dev-postgres-mcp")
    assert network["Driver"] == "bridge"
    assert not network["Internal"]
    assert network["Options"] == {
        "com.docker.network.bridge.enable_icc": "false",
        "com.docker.network.bridge.enable_ip_masquerade": "false",
    }


def test_it_makes_no_volume_since_each_declared_path_is_a_small_tmpfs(details: dict[str, Any]) -> None:
    declared = inspect(details["Image"])["Config"]["Volumes"]
    assert declared
    assert details["Mounts"] == []
    assert set(details["HostConfig"]["Tmpfs"]) == {*declared, SECRET}
    assert all("size=1m" in options for options in details["HostConfig"]["Tmpfs"].values())


def test_the_cluster_lies_outside_the_declared_volumes(shop: Instance, details: dict[str, Any]) -> None:
    directory = value(dsn_of(shop), "SHOW data_directory")
    assert directory == f"{HOME}/data"
    assert not any(directory.startswith(path) for path in details["HostConfig"]["Tmpfs"])


def test_the_password_is_nowhere_that_the_engine_shows(shop: Instance, details: dict[str, Any]) -> None:
    assert shop.conninfo is not None
    password = shop.conninfo.password.reveal()
    shown = {
        "inspect": json.dumps(details),
        "history": docker("history", "--no-trunc", details["Image"]),
        "processes": docker("top", shop.container_id, "-eo", "pid,args"),
        "log": logs(shop.container_id),
        "environment of a new process": run_inside(shop.container_id, "env").stdout,
        "list": docker("ps", "--no-trunc", "--format", "{{json .}}", "--filter", f"id={shop.container_id}"),
    }
    assert {place for place, text in shown.items() if password in text} == set()
    assert all(shown.values())


def test_record_and_password_are_files_of_the_servers_user_alone(shop: Instance) -> None:
    uid = run_inside(shop.container_id, "id", "-u", "postgres").stdout.strip()
    wanted = {
        HOME: 700,
        f"{HOME}/state": 700,
        f"{HOME}/state/record": 600,
        f"{HOME}/state/lease": 600,
        f"{SECRET}/password": 600,
    }
    listed = run_inside(shop.container_id, "stat", "-c", "%a %u %n", *wanted).stdout.splitlines()
    assert listed == [f"{mode} {uid} {path}" for path, mode in wanted.items()]


def test_the_password_lies_in_memory_and_never_in_the_containers_layer(shop: Instance) -> None:
    assert shop.conninfo is not None
    kind = run_inside(shop.container_id, "stat", "--file-system", "-c", "%T", SECRET).stdout.strip()
    assert kind == "tmpfs"
    exported = export(shop.container_id)
    assert shop.name.encode() in exported, "the record may be in the layer"
    assert shop.conninfo.password.reveal().encode() not in exported


def export(container: str) -> bytes:
    """Return all files of a container as one tar, as `docker commit` would keep them."""
    return subprocess.run(["docker", "export", container], check=True, capture_output=True).stdout


def test_two_instances_cannot_reach_each_other_and_the_host_reaches_both(
    shop: Instance, neighbour: Instance
) -> None:
    (attached,) = inspect(neighbour.container_id)["NetworkSettings"]["Networks"].values()
    knock = "exec 3<>/dev/tcp/$0/5432"
    to_itself = run_inside(neighbour.container_id, "bash", "-c", knock, attached["IPAddress"])
    to_the_other = run_inside(shop.container_id, "timeout", "2", "bash", "-c", knock, attached["IPAddress"])
    assert to_itself.returncode == 0, to_itself.stderr
    assert to_the_other.returncode != 0
    assert value(dsn_of(shop), "SELECT 1") == value(dsn_of(neighbour), "SELECT 1") == 1


def test_nothing_gets_out_of_an_instance(shop: Instance) -> None:
    """A documentation address (RFC 5737); tests/faults has a listener outside and a control that reaches it."""
    knock = run_inside(shop.container_id, "timeout", "2", "bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/80")
    assert knock.returncode != 0
