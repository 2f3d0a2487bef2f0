"""Who is killed: an MCP server, a command or a test process, at a random moment of a random verb.

As a program it is the test process: it creates instances on a few threads, and branches and drops some.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.faults.second_engine import SecondEngine

MOMENTS = {"command": (0.4, 1.4), "server": (0.8, 3.5), "test": (0.8, 3.5)}
"""Seconds after its start between which a victim is killed: it has begun, and may have finished."""
SHORT: dict[str, Any] = {
    "ttl": "3s",
    "create_timeout": 10,
    "spare_ttl": "3s",
    "snapshot_ttl": "3s",
    "pool_size": 2,
}
ROOMY: dict[str, Any] = {"max_instances": 10_000, "max_total_memory": "1000t"}
THREADS = 6
_PROTOCOL = "2025-11-25"


@dataclass
class Victim:
    """A process that is about to be killed."""

    seed: int
    kind: str
    doing: str
    process: subprocess.Popen[str]
    moment: float
    finished: bool = field(default=False, init=False)

    def kill(self) -> None:
        """Kill it at its moment, unless it has finished before."""
        with self.process, suppress(BrokenPipeError):
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(max(0.0, self.moment - time.monotonic()))
                self.finished = True
            self.process.kill()

    def __str__(self) -> str:
        return f"{self.seed}: {self.doing}{' (had finished)' if self.finished else ''}"


def choose(engine: SecondEngine, seed: int, sources: Sequence[str], snapshot: str) -> Victim:
    """Start what the seed says; `sources` are instances to be branched, restored and looked at."""
    chance = random.Random(seed)
    kind = chance.choice(["command", "command", "server", "test"])
    source = chance.choice(sources)
    doing, begin = {"command": _command, "server": _server, "test": _test}[kind](chance, source, snapshot)
    moment = time.monotonic() + chance.uniform(*MOMENTS[kind])
    return Victim(seed=seed, kind=kind, doing=doing, process=begin(engine, seed), moment=moment)


Begin = tuple[str, "Callable[[SecondEngine, int], subprocess.Popen[str]]"]


def _command(chance: random.Random, source: str, snapshot: str) -> Begin:
    arguments = chance.choice(
        [
            ("postgres", "create"),
            ("postgres", "create", "--setting", "work_mem=8MB"),
            ("postgres", "snapshot", "take", source),
            ("postgres", "branch", source),
            ("postgres", "branch", snapshot),
            ("postgres", "restore", source, snapshot),
            ("postgres", "pool", "fill", "--size", "3", "--ttl", "3s"),
            ("postgres", "try", source, "--", "true"),
            ("postgres", "sweep"),
            ("image", "prepare"),
        ]
    )

    def begin(engine: SecondEngine, seed: int) -> subprocess.Popen[str]:
        return start(engine, seed, "-m", "dev_postgres_mcp", *arguments)

    return " ".join(arguments), begin


def _server(chance: random.Random, source: str, snapshot: str) -> Begin:
    wishes: list[tuple[str, dict[str, Any]]] = [
        ("create_postgres_instance", {}),
        ("create_postgres_instance", {"settings": {"work_mem": "8MB"}}),
        ("branch_postgres_instance", {"source": source}),
        ("branch_postgres_instance", {"source": snapshot}),
        ("take_postgres_snapshot", {"id": source}),
        ("restore_postgres_instance", {"id": source, "snapshot": snapshot}),
        ("list_postgres_instances", {}),
    ]
    wanted = chance.choices(wishes, k=3)

    def begin(engine: SecondEngine, seed: int) -> subprocess.Popen[str]:
        server = start(engine, seed, "-m", "dev_postgres_mcp", "mcp", "serve")
        assert server.stdin is not None
        with suppress(BrokenPipeError):
            for message in greeting() + calls(wanted):
                server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
            server.stdin.flush()
        return server

    return f"mcp serve: {', '.join(tool for tool, _ in wanted)}", begin


def _test(chance: random.Random, source: str, snapshot: str) -> Begin:
    def begin(engine: SecondEngine, seed: int) -> subprocess.Popen[str]:
        return start(engine, seed, "-m", "tests.faults.victims", "20", snapshot)

    return "a test process", begin


def start(
    engine: SecondEngine,
    seed: int,
    *arguments: str,
    stdout: int = subprocess.DEVNULL,
    stderr: int | IO[str] = subprocess.DEVNULL,
) -> subprocess.Popen[str]:
    """Start a Python beside the engine, whose instances are the victim's."""
    environment = engine.environment(**SHORT, **ROOMY, session=f"victim-{seed}")
    return subprocess.Popen(
        engine.enter(sys.executable, *arguments),
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        text=True,
        env=environment,
    )


def greeting() -> list[dict[str, Any]]:
    """Return what an MCP client says first."""
    about = {"name": "victim", "version": "1"}
    params = {"protocolVersion": _PROTOCOL, "capabilities": {}, "clientInfo": about}
    return [{"id": 0, "method": "initialize", "params": params}, {"method": "notifications/initialized"}]


def calls(wanted: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return calls of tools."""
    return [
        {"id": number, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        for number, (tool, arguments) in enumerate(wanted, 1)
    ]


def _create_many(count: int, snapshot: str) -> None:
    """Create, say which ones are there, and branch and drop every third."""
    from dev_postgres_mcp.app import build_app
    from dev_postgres_mcp.errors import DevPostgresError
    from dev_postgres_mcp.instances import build_spec
    from dev_postgres_mcp.instances.specs import build_branch_spec
    from dev_postgres_mcp.settings import load_settings

    app = build_app(load_settings().settings, session="", program="a test process")

    def say(line: str) -> None:
        """Write a line in one piece, which `print` on several threads does not."""
        os.write(sys.stdout.fileno(), f"{line}\n".encode())

    def create(number: int) -> None:
        try:
            made = app.manager.create(build_spec(app.defaults))
        except DevPostgresError as exc:
            # On a busy machine a lease of a few seconds may be over before the first login.
            say(f"failed: {exc.code}")
            return
        say(made.id)
        if snapshot and number % 3 == 0:
            with suppress(DevPostgresError):
                branch = app.snapshots.branch(snapshot, build_branch_spec(app.defaults))
                app.manager.drop([made.id, branch.id])

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(create, range(count)))
    sys.stdin.read()


if __name__ == "__main__":
    _create_many(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
