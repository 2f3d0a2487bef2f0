"""Control groups: one per instance, where this process may make them, so that limits hold for all of a server.

Version 2 below its root, version 1 below each controller (kernel documentation, cgroup-v2 and cgroup-v1).  Standard
library only: the supervisor runs this without our dependencies.
"""

from __future__ import annotations

import contextlib
import os
import time

ROOT = "/sys/fs/cgroup"
_PARENT = "dev-postgres-mcp"
_PERIOD = 100_000
"""Microseconds over which processor time is counted out; the kernel's own default."""
_REMOVE_SECONDS = 2.0


def make_cgroups(name: str, *, memory: int, cpus: float, root: str = ROOT) -> list[str]:
    """Return the groups that were made, their limits set; none where that is not for us to do."""
    made: list[str] = []
    try:
        if os.path.exists(f"{root}/cgroup.controllers"):
            made.append(_make_unified(name, memory, cpus, root))
        else:
            for controller, limits in (
                ("memory", {"memory.limit_in_bytes": str(memory)}),
                ("cpu", {"cpu.cfs_period_us": str(_PERIOD), "cpu.cfs_quota_us": str(int(cpus * _PERIOD))}),
            ):
                made.append(f"{root}/{controller}/{_PARENT}/{name}")
                os.makedirs(made[-1], exist_ok=True)
                _set(made[-1], limits)
            # Swap counts, too, where the kernel counts it.
            with contextlib.suppress(OSError):
                _set(made[0], {"memory.memsw.limit_in_bytes": str(memory)})
    except OSError:
        remove_cgroups(made)
        return []
    return made


def cgroup_name(container_id: str) -> str:
    """Return what the groups of an instance are called."""
    return container_id[:24]


def find_cgroups(name: str, root: str = ROOT) -> list[str]:
    """Return the groups of that name that are there."""
    places = (f"{root}/{_PARENT}", f"{root}/memory/{_PARENT}", f"{root}/cpu/{_PARENT}")
    return [f"{place}/{name}" for place in places if os.path.isdir(f"{place}/{name}")]


def remove_cgroups(cgroups: list[str]) -> None:
    """Remove the groups as soon as their last process is gone; the common parent goes with the last of them."""
    for cgroup in cgroups:
        end = time.monotonic() + _REMOVE_SECONDS
        while True:
            try:
                os.rmdir(cgroup)
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() > end:
                    break
                time.sleep(0.005)
            else:
                break
        with contextlib.suppress(OSError):
            os.rmdir(os.path.dirname(cgroup))


def used_memory(cgroups: list[str]) -> int:
    """Return the bytes that a group's processes hold, without page cache that can go; 0 when nobody says."""
    for cgroup in cgroups:
        usage = _read_number(f"{cgroup}/memory.current") or _read_number(f"{cgroup}/memory.usage_in_bytes")
        if usage:
            cache = _read_key(f"{cgroup}/memory.stat", "inactive_file") or _read_key(
                f"{cgroup}/memory.stat", "total_inactive_file"
            )
            return max(0, usage - cache)
    return 0


def count_oom_kills(cgroups: list[str]) -> int:
    """Return how many processes of a group were killed since it was full."""
    return sum(
        _read_key(f"{cgroup}/{file}", "oom_kill")
        for cgroup in cgroups
        for file in ("memory.events", "memory.oom_control")
    )


def _make_unified(name: str, memory: int, cpus: float, root: str) -> str:
    parent = f"{root}/{_PARENT}"
    os.makedirs(parent, exist_ok=True)
    _set(parent, {"cgroup.subtree_control": "+memory +cpu"})
    group = f"{parent}/{name}"
    os.makedirs(group, exist_ok=True)
    _set(group, {"memory.max": str(memory), "cpu.max": f"{int(cpus * _PERIOD)} {_PERIOD}"})
    with contextlib.suppress(OSError):
        _set(group, {"memory.swap.max": "0"})
    return group


def _set(cgroup: str, limits: dict[str, str]) -> None:
    for key, text in limits.items():
        with open(f"{cgroup}/{key}", "w", encoding="ascii") as file:
            file.write(text)


def _read_number(path: str) -> int:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def _read_key(path: str, key: str) -> int:
    try:
        with open(path, encoding="ascii") as file:
            for line in file:
                name, _, number = line.partition(" ")
                if name == key:
                    return int(number)
    except (OSError, ValueError):
        return 0
    return 0
