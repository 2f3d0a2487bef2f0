"""Local servers: create to first query cold and warm, time travel, lists and memory, without an engine."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.ground import create, create_many, dropping, fill_pool, query
from benchmarks.measuring import Row, Target, Unit, clock, take_turns
from benchmarks.snapshots import travel
from dev_postgres_mcp.app import assemble_app
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.model import Owner
from dev_postgres_mcp.runtimes.embedded.runtime import EmbeddedOptions, EmbeddedRuntime
from dev_postgres_mcp.runtimes.embedded.storage import Storage
from dev_postgres_mcp.settings import Settings
from dev_postgres_mcp.sql.client import PsycopgSql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.ground import Ground
    from benchmarks.measuring import Plan, Sample
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance

ROUNDS = 21
MEGABYTE = 1024**2
SUBJECT = "local servers, create to first query"
COLD_MEMORY, COLD_DISK, WARM = "cold, in memory", "cold, on disk", "warm, in memory"
_SIZES = {"40 MB": 40}


def measure(_: Ground, plan: Plan) -> list[Row]:
    """Create alternately in memory, on disk and from a spare; then the other verbs on disk."""
    with ExitStack() as stack:
        memory, disk, warm = (
            stack.enter_context(open_local(storage))
            for storage in (Storage.MEMORY, Storage.DISK, Storage.MEMORY)
        )
        taken = take_turns(
            {
                COLD_MEMORY: partial(_create, memory),
                COLD_DISK: partial(_create, disk),
                WARM: partial(_claim, warm),
            },
            plan.choose_rounds(ROUNDS),
        )
        rows = [
            _row(COLD_MEMORY, taken[COLD_MEMORY]["create"], 0.12),
            _row(COLD_DISK, taken[COLD_DISK]["create"], 0.30),
            _row(WARM, taken[WARM]["create"], 0.06),
            Row(subject=SUBJECT, what="drop, in memory", values=taken[COLD_MEMORY]["drop"]),
            Row(subject=SUBJECT, what="drop, on disk", values=taken[COLD_DISK]["drop"]),
        ]
        rows += travel(disk, _SIZES, plan, "local servers on disk, time travel")
        return rows + _look_at_many(memory, 3 if plan.quick else 50)


@contextmanager
def open_local(storage: Storage) -> Iterator[App]:
    """Yield the program on local servers, in a directory of its own that goes with all that was made in it."""
    with tempfile.TemporaryDirectory(prefix="dpm-bench-", ignore_cleanup_errors=True) as directory:
        settings = Settings(max_instances=10_000, max_total_memory=1024**5)
        options = EmbeddedOptions(directory=Path(directory), ports=settings.port_range, storage=storage)
        app = assemble_app(
            settings, runtime=EmbeddedRuntime(options), sql=PsycopgSql(), owner=Owner(session="bench")
        )
        app.images.prepare(build_spec(app.defaults).image)
        try:
            yield app
        finally:
            for container in app.runtime.list():
                app.runtime.remove(container.container_id)


def _create(app: App) -> Sample:
    seconds, instance = _clocked(partial(create, app))
    return {"create": seconds, "drop": clock(lambda: app.manager.drop([instance]))}


def _claim(app: App) -> Sample:
    fill_pool(app)
    (spare,) = app.pool.status().spares
    seconds, instance = _clocked(partial(create, app))
    assert instance == spare.id, "a create has to claim the spare that waits"
    app.manager.drop([instance])
    return {"create": seconds}


def _clocked(make: Callable[[], Instance]) -> tuple[float, str]:
    made: list[str] = []

    def work() -> None:
        instance = make()
        made.append(instance.id)
        query(instance)

    return clock(work), made[0]


def _look_at_many(app: App, count: int) -> list[Row]:
    instances = create_many(app, count)
    with dropping(app, *instances):
        listing = tuple(clock(app.manager.list) for _ in range(7))
        memory = tuple(app.runtime.usage(one.container_id).memory / MEGABYTE for one in instances)
    subject = "local servers, many"
    return [
        Row(subject=subject, what=f"list of {count}", values=listing),
        Row(
            subject=subject, what="memory of one, data in memory included", values=memory, unit=Unit.MEGABYTES
        ),
    ]


def _row(what: str, values: tuple[float, ...], at_most: float) -> Row:
    return Row(subject=SUBJECT, what=what, values=values, targets=(Target(at_most=at_most),))
