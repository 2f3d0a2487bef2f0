"""The `docker` command and child processes: what tests look at the engine with, beside our own code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

MEASURING = "COVERAGE_PROCESS_CONFIG"
"""What coverage tells the children of a process that it measures; a measured one takes twice as long to start."""
LABEL = "dev-postgres-mcp."
"""Spelled out here once more: what the labels are called is a promise to other programs."""


def docker(*arguments: str, host: str = "", check: bool = True, timeout: float = 60) -> str:
    """Return what the docker command writes on stdout, without outer spaces."""
    command = ["docker", *(("--host", host) if host else ()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert not check or done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


def inspect(ref: str, *, host: str = "") -> dict[str, Any]:
    """Return what the engine says of a container, image or network."""
    found: list[dict[str, Any]] = json.loads(docker("inspect", ref, host=host))
    return found[0]


def logs(container: str, *, host: str = "") -> str:
    """Return what a container has written, on stdout as well as on stderr."""
    command = ["docker", *(("--host", host) if host else ()), "logs", container]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=True
    )
    return done.stdout


def exists(container: str, *, host: str = "") -> bool:
    """Tell whether the engine still has the container."""
    return bool(docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"id={container}", host=host))


def run_inside(container: str, *command: str, host: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in a container."""
    return subprocess.run(
        ["docker", *(("--host", host) if host else ()), "exec", container, *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def cli(*arguments: str) -> list[str]:
    """Return the command line of our own program."""
    return [sys.executable, "-m", "dev_postgres_mcp", *arguments]


def surroundings(**changes: str) -> dict[str, str]:
    """Return this process's environment without settings of ours, `changes` on top.

    Children are not measured: what they run is measured in the acceptance tests, and most of them are killed.
    """
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("DEV_POSTGRES_MCP_") and key != MEASURING
    }
    ours = {"PYTHONPATH": os.pathsep.join(sys.path), "DEV_POSTGRES_MCP_RUNTIME": "docker"}
    return {**inherited, **ours, **changes}
