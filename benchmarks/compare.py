"""Compares create-to-first-query and drop with testcontainers, alternately in one run, on the same image.

Prints medians with the spread and the ratio.  Load goes to this machine's engine only; stops by itself.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from typing import TYPE_CHECKING

import psycopg

from dev_postgres_mcp.app import build_app
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGE = "postgres:17"
ROUNDS = 11

Sample = tuple[float, float]


def ours() -> Sample:
    """Return seconds from create to the first answer, and of the drop."""
    app = build_app(load_settings().settings, session="benchmark", program="compare")
    started = time.perf_counter()
    instance = app.manager.create(build_spec(app.defaults, image=IMAGE))
    assert instance.conninfo is not None
    _query(instance.conninfo.dsn())
    created = time.perf_counter()
    app.manager.drop([instance.id])
    return created - started, time.perf_counter() - created


def testcontainers() -> Sample:
    """Return the same of testcontainers' PostgresContainer."""
    # Its reaper is a second image, which is not what is compared.
    os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
    from testcontainers.community.postgres import PostgresContainer

    started = time.perf_counter()
    container = PostgresContainer(IMAGE, driver=None)
    container.start()
    _query(container.get_connection_url())
    created = time.perf_counter()
    container.stop()
    return created - started, time.perf_counter() - created


def _query(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT 1")


def _show(name: str, values: list[float]) -> str:
    return f"{name:<16}{statistics.median(values):>8.2f} s   ({min(values):.2f}-{max(values):.2f})"


def main() -> None:
    """Run the rounds and print the table."""
    runners: dict[str, Callable[[], Sample]] = {"dev-postgres-mcp": ours, "testcontainers": testcontainers}
    samples: dict[str, list[Sample]] = {name: [] for name in runners}
    for _ in range(ROUNDS):
        for name, run in runners.items():
            samples[name].append(run())
    for index, what in enumerate(("create to first query", "drop")):
        sys.stdout.write(f"\n{what}, median of {ROUNDS} (least-most)\n")
        medians = []
        for name, pairs in samples.items():
            values = [pair[index] for pair in pairs]
            medians.append(statistics.median(values))
            sys.stdout.write(f"  {_show(name, values)}\n")
        sys.stdout.write(f"  ratio {medians[0] / medians[1]:.2f}\n")


if __name__ == "__main__":
    main()
