"""Snapshot, branch and restore of a small cluster and of a big one."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import psycopg

from benchmarks.ground import create, dropping
from benchmarks.measuring import Row, Unit, clock, take_turns
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.model import BranchSpec, Secret
from dev_postgres_mcp.parsing import new_password

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.ground import Ground
    from benchmarks.measuring import Plan, Sample
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Conninfo, Instance

ROUNDS = 5
MEGABYTE = 1024**2
_ROW = 1024
"""Bytes that a row of the filling takes."""
_VERBS = ("take a snapshot", "branch a snapshot", "branch an instance", "restore", "drop a branch")
_SIZE = "what the snapshot adds to the disk"


def measure(ground: Ground, plan: Plan) -> list[Row]:
    """Fill a fresh instance each round, since a restored one stands on its snapshot and has little left to freeze."""
    app = ground.open(ground.client())
    app.images.prepare(build_spec(app.defaults).image)
    sizes = {"40 MB": 40, "100 MB": 100} if plan.quick else {"40 MB": 40, "1 GB": 1024}
    return travel(app, sizes, plan, "snapshots, by the size of all databases")


def travel(app: App, sizes: Mapping[str, int], plan: Plan, subject: str) -> list[Row]:
    """Take, branch and restore clusters of so many megabytes on any runtime."""
    taken = take_turns(
        {size: partial(_travel, app, megabytes * MEGABYTE) for size, megabytes in sizes.items()},
        plan.choose_rounds(ROUNDS),
        warm_up=False,
    )
    rows = []
    for measured, unit in [*((verb, Unit.SECONDS) for verb in _VERBS), (_SIZE, Unit.MEGABYTES)]:
        small: Row | None = None
        for size in sizes:
            row = Row(
                subject=subject,
                what=f"{measured}, {size}",
                short=size,
                values=taken[size][measured],
                unit=unit,
                beside=small,
            )
            small = small or row
            rows.append(row)
    return rows


def _travel(app: App, size: int) -> Sample:
    instance = create(app)
    with ExitStack() as leaving, dropping(app, instance):
        assert instance.conninfo is not None
        _fill(instance.conninfo, size)
        started = time.perf_counter()
        snapshot = app.snapshots.take(instance.id)
        took = time.perf_counter() - started
        # After the instance, which is restored to it and then stands on it.
        leaving.callback(app.snapshots.delete, snapshot.name, force=True)
        branched, dropped = _branch(app, snapshot.name)
        return {
            "take a snapshot": took,
            "branch a snapshot": branched,
            "drop a branch": dropped,
            "branch an instance": _branch(app, instance.id)[0],
            "restore": clock(lambda: _restore(app, instance, snapshot.name)),
            _SIZE: snapshot.size / MEGABYTE,
        }


def _branch(app: App, source: str) -> tuple[float, float]:
    """Return the seconds that a branch takes, and those that its drop takes."""
    started = time.perf_counter()
    branch = app.snapshots.branch(source, BranchSpec(password=Secret(new_password()), ttl=600.0))
    seconds = time.perf_counter() - started
    with dropping(app, branch):
        assert branch.conninfo is not None
        _check(branch.conninfo)
        return seconds, clock(lambda: app.manager.drop([branch.id]))


def _restore(app: App, instance: Instance, snapshot: str) -> None:
    restored = app.snapshots.restore(instance.id, snapshot)
    assert restored.conninfo == instance.conninfo
    assert restored.conninfo is not None
    _check(restored.conninfo)


def _fill(conninfo: Conninfo, size: int) -> None:
    """Add rows until all databases together have that size."""
    with psycopg.connect(conninfo.dsn(), autocommit=True) as connection:
        present = connection.execute("SELECT sum(pg_database_size(oid))::bigint FROM pg_database").fetchone()
        assert present is not None
        rows = max(1, (size - int(present[0])) // _ROW)
        connection.execute(
            "CREATE TABLE filling AS SELECT i, repeat(md5(i::text), 30) AS content FROM generate_series(1, %s) AS i",
            (rows,),
        )


def _check(conninfo: Conninfo) -> None:
    """Read the first row of the filling: the data has to be there."""
    with psycopg.connect(conninfo.dsn()) as connection:
        assert connection.execute("SELECT i FROM filling LIMIT 1").fetchone() == (1,)
