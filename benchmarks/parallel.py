"""Ten cold creates at once beside one, no spare in sight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.ground import create_many
from benchmarks.measuring import Row, Target, clock, take_turns

if TYPE_CHECKING:
    from benchmarks.ground import Ground
    from benchmarks.measuring import Plan, Sample
    from dev_postgres_mcp.app import App

ROUNDS = 7
SUBJECT = "creates at once, cold, until the last is ready"


def measure(ground: Ground, plan: Plan) -> list[Row]:
    """Create one and many alternately on one app."""
    app = ground.open(ground.client())
    count = 3 if plan.quick else 10
    taken = take_turns(
        {"one": lambda: _create(app, 1), f"{count} at once": lambda: _create(app, count)},
        plan.choose_rounds(ROUNDS),
    )
    one, many = (Row(subject=SUBJECT, what=what, values=taken[what]["create"]) for what in taken)
    return [
        one,
        Row(
            subject=SUBJECT,
            what=many.what,
            values=many.values,
            beside=one,
            targets=(Target(at_most=5, of=one),),
        ),
    ]


def _create(app: App, count: int) -> Sample:
    made: list[str] = []
    seconds = clock(lambda: made.extend(instance.id for instance in create_many(app, count, at_once=count)))
    app.manager.drop(made)
    return {"create": seconds}
