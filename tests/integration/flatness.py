"""A server that lives for weeks: round after round of create, list and drop, and what its process holds then."""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp import Client, StdioServerParameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEGABYTE = 1024**2
WARM_UP = 30
"""Rounds in which modules are imported, pools of threads and connections grow and allocators settle."""
WINDOW = 20
"""Rounds over which a figure is taken, since a round may end while the pool is being filled."""
FEWEST = WARM_UP + 2 * WINDOW
GROWTH = 4 * MEGABYTE
"""Memory that may come on top after the warm-up, however many rounds follow."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a process holds; memory in bytes."""

    memory: int
    files: int
    sockets: int
    threads: int


ROOMY = {
    "DEV_POSTGRES_MCP_POOL_SIZE": "1",
    "DEV_POSTGRES_MCP_MAX_INSTANCES": "10000",
    "DEV_POSTGRES_MCP_MAX_TOTAL_MEMORY": "1000t",
}


async def check_flatness(
    command: Sequence[str], environment: Mapping[str, str], rounds: int, *, seconds: float = inf
) -> None:
    """Go so many rounds with one server, fewer when that takes longer than `seconds`, and judge its process."""
    server = StdioServerParameters(
        command=command[0], args=[*command[1:], "mcp", "serve"], env={**environment, **ROOMY}
    )
    before = set(children())
    async with Client(server) as client:
        (pid,) = set(children()) - before

        async def call(tool: str, **given: Any) -> Any:
            result = await client.call_tool(tool, given)
            assert not result.is_error, result.content
            return result.structured_content

        seen: list[Figures] = []
        start = time.monotonic()
        while len(seen) < rounds and (len(seen) < FEWEST or time.monotonic() - start < seconds):
            made = await call("create_postgres_instance", ttl="10m")
            listing = await call("list_postgres_instances")
            assert made["id"] in {instance["id"] for instance in listing["instances"]}
            await call("drop_postgres_instance", id=made["id"])
            seen.append(look_at(pid))
        took = time.monotonic() - start
    judge(seen, took)


def judge(seen: list[Figures], seconds: float) -> None:
    """Compare the first window after the warm-up with the last one."""
    first, last = typical(seen[WARM_UP : WARM_UP + WINDOW]), typical(seen[-WINDOW:])
    print(
        f"{len(seen)} rounds, {seconds / len(seen):.2f} s each; after the warm-up {first}, at the end {last}"
    )
    assert last.memory - first.memory <= GROWTH
    # One connection more or less to the engine may be open at the moment of a look.
    assert last.files - first.files <= 2
    assert last.sockets - first.sockets <= 2
    assert last.threads - first.threads <= 2


def typical(window: list[Figures]) -> Figures:
    """Return the middle of each figure."""
    return Figures(
        memory=int(statistics.median(one.memory for one in window)),
        files=int(statistics.median(one.files for one in window)),
        sockets=int(statistics.median(one.sockets for one in window)),
        threads=int(statistics.median(one.threads for one in window)),
    )


def look_at(pid: int) -> Figures:
    """Return what a process holds now."""
    process = Path(f"/proc/{pid}")
    held = [held for file in (process / "fd").iterdir() if (held := target(file))]
    pages = int((process / "statm").read_text().split()[1])
    return Figures(
        memory=pages * os.sysconf("SC_PAGE_SIZE"),
        files=len(held),
        sockets=sum(one.startswith("socket:") for one in held),
        threads=len(list((process / "task").iterdir())),
    )


def target(file: Path) -> str:
    """Return what an open file is; nothing when it has been closed meanwhile."""
    try:
        return str(file.readlink())
    except FileNotFoundError:
        return ""


def children() -> list[int]:
    """Return the processes that this one has started."""
    found = (task / "children" for task in Path("/proc/self/task").iterdir())
    return [int(pid) for file in found for pid in file.read_text().split()]
