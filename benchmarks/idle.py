"""What instances cost that nobody uses: the engine's own figures for memory and processor."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.ground import create_many, dropping
from benchmarks.measuring import Row, Unit, take_turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.ground import Ground
    from benchmarks.measuring import Plan, Sample
    from dev_postgres_mcp.model import Instance

ROUNDS = 5
WINDOW_SECONDS = 10.0
SETTLE_SECONDS = 5.0
"""For a new server to do what it does after its start."""
MEGABYTE = 1024**2
SUBJECT = "idle instances"


def measure(ground: Ground, plan: Plan) -> list[Row]:
    """Look at instances with the lease of the shell and at some that also watch for clients, as over MCP."""
    count = 2 if plan.quick else 10
    window, settle = (1.0, 0.5) if plan.quick else (WINDOW_SECONDS, SETTLE_SECONDS)
    client = ground.client()
    app, watching = ground.open(client), ground.open(client, idle_timeout=7_200.0)
    leased, watched = create_many(app, count), create_many(watching, count)
    with dropping(app, *leased, *watched):
        time.sleep(settle)
        memory = tuple(
            app.runtime.usage(instance.container_id).memory / MEGABYTE for instance in (*leased, *watched)
        )
        contenders = {
            f"processor, {count} for {window:g} s": partial(_watch, ground, leased, window),
            f"processor, {count} with an idle timeout": partial(_watch, ground, watched, window),
        }
        taken = take_turns(contenders, plan.choose_rounds(ROUNDS), warm_up=False)
    return [
        Row(subject=SUBJECT, what="memory of one", values=memory, unit=Unit.MEGABYTES),
        *(
            Row(subject=SUBJECT, what=what, values=samples["share"], unit=Unit.CORE)
            for what, samples in taken.items()
        ),
    ]


def _watch(ground: Ground, instances: Sequence[Instance], window: float) -> Sample:
    """Return which share of one core the containers took in a window of time."""
    started, before = time.perf_counter(), _processor_seconds(ground, instances)
    time.sleep(window)
    used = _processor_seconds(ground, instances) - before
    return {"share": 100 * used / (time.perf_counter() - started)}


def _processor_seconds(ground: Ground, instances: Sequence[Instance]) -> float:
    total = 0
    for instance in instances:
        stats = ground.api.stats(instance.container_id, stream=False, one_shot=True)
        total += int(stats["cpu_stats"]["cpu_usage"]["total_usage"])
    return total / 1e9
