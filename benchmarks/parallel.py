"""Ten cold creates at once beside one, no spare in sight, and beside ten containers that only sleep."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from benchmarks.first_query import Floor, learn_configuration
from benchmarks.ground import create, create_many, dropping
from benchmarks.measuring import Row, Target, clock, take_turns

if TYPE_CHECKING:
    from benchmarks.ground import Ground
    from benchmarks.measuring import Plan, Sample
    from dev_postgres_mcp.app import App

ROUNDS = 7
SUBJECT = "creates at once, cold, until the last is ready"
ONE, SLEEPERS = "one", "floor: as many containers, `sleep` in them"


def measure(ground: Ground, plan: Plan) -> list[Row]:
    """Create one and many alternately on one app, and start as many containers without a server."""
    app = ground.open(ground.client())
    count = 3 if plan.quick else 10
    many = f"{count} at once"
    model = create(app)
    floor = Floor(ground, learn_configuration(ground, model))
    with dropping(app, model):
        taken = take_turns(
            {
                ONE: lambda: _create(app, 1),
                many: lambda: _create(app, count),
                SLEEPERS: lambda: _sleep(floor, count),
            },
            plan.choose_rounds(ROUNDS),
        )
    one = Row(subject=SUBJECT, what=ONE, values=taken[ONE]["create"])
    target = Target(at_most=5, of=one)
    return [
        one,
        Row(subject=SUBJECT, what=many, values=taken[many]["create"], beside=one, targets=(target,)),
        Row(subject=SUBJECT, what=SLEEPERS, values=taken[SLEEPERS]["create"], beside=one),
    ]


def _create(app: App, count: int) -> Sample:
    made: list[str] = []
    seconds = clock(lambda: made.extend(instance.id for instance in create_many(app, count, at_once=count)))
    app.manager.drop(made)
    return {"create": seconds}


def _sleep(floor: Floor, count: int) -> Sample:
    made: list[str] = []
    with ThreadPoolExecutor(count) as threads:
        seconds = clock(lambda: made.extend(threads.map(lambda _: floor.start(), range(count))))
        list(threads.map(floor.remove, made))
    return {"create": seconds}
