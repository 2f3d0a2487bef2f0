"""Processes that are killed while they create, and a look at what they leave."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from tests.integration.shell import LABEL, cli, docker, surroundings

LATEST = 1.5
"""Seconds after its start at which a process is killed at the latest; a create takes about as long."""


@dataclass(frozen=True, kw_only=True)
class Killed:
    """One process that was killed, and whether it had finished before."""

    seed: int
    process: str
    finished: bool


def kill_while_creating(seeds: range, session: str, *, together: int = 2) -> list[Killed]:
    """Start `postgres create` once for each seed, and kill each at its seed's moment."""
    killed: list[Killed] = []
    for first in range(seeds.start, seeds.stop, together):
        batch = range(first, min(first + together, seeds.stop))
        children = [(seed, time.monotonic(), _start(session)) for seed in batch]
        moments = sorted(
            (started + random.Random(seed).uniform(0, LATEST), seed, child)
            for seed, started, child in children
        )
        for moment, seed, child in moments:
            try:
                child.wait(max(0, moment - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
            killed.append(
                Killed(
                    seed=seed,
                    process=f"{socket.gethostname()}:{child.pid} postgres create",
                    finished=child.wait() == 0,
                )
            )
    return killed


def _start(session: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        cli(
            "--set",
            f"session={session}",
            "--set",
            "max_instances=1000",
            "--set",
            "max_total_memory=1t",
            "postgres",
            "create",
        ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=surroundings(),
    )


def look_at_containers(session: str) -> list[dict[str, Any]]:
    """Return what the engine itself says of every container that carries the session."""
    label = f"label={LABEL}maker={session}"
    ids = docker("ps", "--all", "--quiet", "--no-trunc", "--filter", label).split()
    found: list[dict[str, Any]] = json.loads(docker("inspect", *ids)) if ids else []
    return found


def list_instances() -> dict[str, dict[str, Any]]:
    """Return what our program lists, by id."""
    done = subprocess.run(
        cli("postgres", "list", "--format", "json"),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=surroundings(),
    )
    return {seen["id"]: seen for seen in json.loads(done.stdout)["instances"]}


def unlabelled() -> list[str]:
    """Return containers that are named like ours, carry no label of ours, and are no test's doing."""
    form = '{{.Names}}\t{{.Label "dev-postgres-mcp.id"}}\t{{.Label "tests.session"}}'
    lines = docker("ps", "--all", "--filter", "name=^/?mcp-postgres-", "--format", form).splitlines()
    return [line for line in lines if line.split("\t")[1:] == ["", ""]]


def check_nothing_is_hidden(seeds: range, session: str) -> None:
    """Kill creators and judge: whatever they left is listed, can be dropped, and is all that they left.

    One creates before, so that none is busy with preparing the image.
    """
    with _start(session) as first:
        assert first.wait(60) == 0
    drop([details["Config"]["Labels"][f"{LABEL}id"] for details in look_at_containers(session)])
    killed = kill_while_creating(seeds, session)
    left = look_at_containers(session)
    listed = list_instances()
    assert {details["Name"].removeprefix("/mcp-postgres-") for details in left} <= set(listed)
    assert left, "of so many that are killed some leave something"
    ids = [details["Config"]["Labels"][f"{LABEL}id"] for details in left]
    processes = {one.process for one in killed} | {""}
    assert {listed[one]["owner"]["process"] for one in ids} <= processes
    assert [details["Mounts"] for details in left if details["Mounts"]] == []
    assert unlabelled() == []
    networks = docker("network", "ls", "--quiet", "--filter", f"label={LABEL}network").split()
    assert len(networks) == 1
    attached = {details["HostConfig"]["NetworkMode"][:12] for details in left}
    assert attached <= {network[:12] for network in networks}
    states = sorted(f"{listed[one]['status']}" for one in ids)
    print(
        f"killed {len(killed)} creators, {sum(one.finished for one in killed)} had finished; left: {states}"
    )
    drop(ids)
    assert look_at_containers(session) == []


def drop(ids: list[str]) -> None:
    """Drop with our program; every one of them has to be there."""
    if not ids:
        return
    done = subprocess.run(
        cli("postgres", "drop", "--force", "--format", "json", *ids),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=surroundings(),
    )
    assert {result["outcome"] for result in json.loads(done.stdout)["results"]} == {"dropped"}
