"""`list` with fifty instances: as a verb, and as the whole process of the command."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from benchmarks.ground import create_many, dropping, find_command, run_program
from benchmarks.measuring import Row, Target, clock, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.ground import Client, Ground
    from benchmarks.measuring import Plan, Sample
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance

ROUNDS = 15


def measure(ground: Ground, plan: Plan) -> list[Row]:
    """List alternately by clients that know the instances and by clients that never saw one."""
    count = 3 if plan.quick else 50
    client = ground.client()
    app = ground.open(client)
    instances = create_many(app, count)
    with dropping(app, *instances):
        if not plan.quick:
            _wait_grown_up(app, instances)
        expected = {instance.id for instance in instances}
        known = "known, a process that has listed before"
        contenders: dict[str, Callable[[], Sample]] = {
            known: lambda: _list(app, expected),
            "known, a process that has not": lambda: _list(ground.open(client), expected),
            "nothing known": lambda: _list(ground.open(client.renewed()), expected),
            "known, `postgres list` as a process": lambda: _run(client),
            "nothing known, `postgres list` as a process": lambda: _run(client.renewed()),
        }
        taken = take_turns(contenders, plan.choose_rounds(ROUNDS))
    limits = dict(zip(contenders, (0.1, 0.1, 1.2, None, 1.2), strict=True))
    rows: list[Row] = []
    for what, limit in limits.items():
        rows.append(
            Row(
                subject=f"list with {count} instances",
                what=what,
                short="" if rows else "the first",
                values=taken[what]["list"],
                beside=rows[0] if rows else None,
                targets=() if limit is None else (Target(at_most=limit),),
            )
        )
    return rows


def _list(app: App, expected: set[str]) -> Sample:
    found: set[str] = set()
    seconds = clock(lambda: found.update(instance.id for instance in app.manager.list().instances))
    assert expected <= found, "instances are missing in the list"
    return {"list": seconds}


def _run(client: Client) -> Sample:
    command = [*find_command(), "postgres", "list"]
    return {"list": clock(lambda: run_program(client, *command))}


def _wait_grown_up(app: App, instances: Sequence[Instance]) -> None:
    """Wait until all are older than a create may take: `list` tries a login on younger ones."""
    ids = {instance.id for instance in instances}
    last = max(container.ready_by for container in app.manager.containers() if container.id in ids)
    time.sleep(max(0.0, (last - datetime.now(UTC)).total_seconds()))
