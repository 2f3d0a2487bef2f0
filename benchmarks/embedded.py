"""Local servers: create to first query cold and warm, time travel, lists and memory, without an engine."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.ground import create, create_many, dropping, fill_pool, query
from benchmarks.local import BareServer, find_program, open_local, place_in_memory, temporary_directory
from benchmarks.measuring import Row, Target, Unit, clock, take_turns
from benchmarks.snapshots import travel
from dev_postgres_mcp.runtimes.embedded import copying
from dev_postgres_mcp.runtimes.embedded.files import read_plan
from dev_postgres_mcp.runtimes.embedded.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.ground import Ground
    from benchmarks.measuring import Plan, Sample, Samples
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance

ROUNDS = 21
LISTS = 15
MEGABYTE = 1024**2
CREATE, DROP = "local servers, create to first query", "local servers, drop"
COLD_MEMORY, COLD_DISK, WARM = "cold, in memory", "cold, on disk", "warm: a spare, in memory"
FLOOR = "floor: bare `postgres` until it is ready, in memory"
TARGETS = {COLD_MEMORY: 0.12, COLD_DISK: 0.30, WARM: 0.06}
_SIZE = {"40 MB": 40}


def measure(_: Ground, plan: Plan) -> list[Row]:
    """Create alternately in memory, on disk, from a spare and bare; then the other verbs."""
    with ExitStack() as stack:
        memory, disk, warm = (
            stack.enter_context(open_local(storage))
            for storage in (Storage.MEMORY, Storage.DISK, Storage.MEMORY)
        )
        home = stack.enter_context(temporary_directory(place_in_memory()))
        bare = BareServer(program=find_program("postgres"), cluster=_cluster_of(memory), home=home)
        contenders: dict[str, Callable[[], Sample]] = {
            COLD_MEMORY: partial(_create, memory),
            COLD_DISK: partial(_create, disk),
            WARM: partial(_claim, warm),
            FLOOR: lambda: {CREATE: bare.start()},
        }
        rows = creation_rows(take_turns(contenders, plan.choose_rounds(ROUNDS)))
        rows += travel(memory, _SIZE, plan, "local servers in memory, time travel")
        rows += travel(disk, _SIZE, plan, "local servers on disk, time travel")
        return rows + _look_at_many(memory, 3 if plan.quick else 50)


def creation_rows(taken: Samples) -> list[Row]:
    """Return the rows of creates, beside the floor, and of drops."""
    floor = Row(subject=CREATE, what=FLOOR, short="the floor", values=taken[FLOOR][CREATE])
    creates = [
        Row(
            subject=CREATE,
            what=what,
            values=taken[what][CREATE],
            beside=floor,
            targets=(Target(at_most=at_most),),
        )
        for what, at_most in TARGETS.items()
    ]
    drops = [Row(subject=DROP, what=what, values=taken[what][DROP]) for what in TARGETS]
    return [*creates, floor, *drops]


def _cluster_of(app: App) -> Path:
    """Return the data directory that creates are copied from; nothing but the prepared one is there yet."""
    (cluster,) = Path(app.runtime.engine().address).glob("images/*/data")
    return cluster


def _create(app: App) -> Sample:
    started = time.perf_counter()
    instance = create(app)
    query(instance)
    created = time.perf_counter() - started
    return {CREATE: created, DROP: clock(lambda: app.manager.drop([instance.id]))}


def _claim(app: App) -> Sample:
    fill_pool(app)
    spares = {spare.id for spare in app.pool.status().spares}
    started = time.perf_counter()
    instance = create(app)
    query(instance)
    created = time.perf_counter() - started
    dropped = clock(lambda: app.manager.drop([instance.id]))
    assert instance.id in spares, "the instance was not made from a spare"
    return {CREATE: created, DROP: dropped}


def _look_at_many(app: App, count: int) -> list[Row]:
    instances = create_many(app, count)
    with dropping(app, *instances):
        listing = tuple(clock(app.manager.list) for _ in range(LISTS))
        processes = tuple(app.runtime.usage(one.container_id).memory / MEGABYTE for one in instances)
        clusters = _sizes(app, instances)
    subject = f"local servers, {count} that nobody uses"
    return [
        Row(subject=subject, what="list", values=listing),
        Row(subject=subject, what="memory of one, its server", values=processes, unit=Unit.MEGABYTES),
        Row(subject=subject, what="memory of one, its cluster", values=clusters, unit=Unit.MEGABYTES),
    ]


def _sizes(app: App, instances: Sequence[Instance]) -> tuple[float, ...]:
    """Return the megabytes of the clusters, which lie in memory."""
    home = Path(app.runtime.engine().address) / "instances"
    clusters = (read_plan(str(home / one.container_id)).data for one in instances)
    return tuple(copying.size_of(cluster) / MEGABYTE for cluster in clusters)
