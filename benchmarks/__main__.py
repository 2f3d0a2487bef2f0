"""Measure, print the table as it grows, and keep it in docs/performance.md when asked to: `make bench`.

Load goes to this machine's engine only; every run ends by itself and removes what it made.
"""

from __future__ import annotations

import argparse
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import embedded, first_query, fresh_database, idle, listing, parallel, snapshots, startup
from benchmarks.ground import Ground
from benchmarks.measuring import Plan
from benchmarks.report import render_markdown, render_text, write_block

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.measuring import Row

SUBJECTS: dict[str, Callable[[Ground, Plan], list[Row]]] = {
    "first-query": first_query.measure,
    "parallel": parallel.measure,
    "list": listing.measure,
    "snapshots": snapshots.measure,
    "idle": idle.measure,
    "startup": startup.measure,
    "embedded": embedded.measure,
    "fresh-database": fresh_database.measure,
}
DOCUMENT = Path(__file__).parents[1] / "docs/performance.md"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the subjects that are asked for, one after the other."""
    asked = _parse(arguments)
    signal.signal(signal.SIGTERM, _end)  # as Ctrl-C does: what was made is removed
    plan = Plan(rounds=asked.rounds, quick=asked.quick)
    rows: list[Row] = []
    with Ground() as ground:
        about = [f"{datetime.now(UTC):%Y-%m-%d}", *ground.describe()]
        sys.stdout.write("".join(f"{line}\n" for line in (*about, "")))
        for name in asked.only or SUBJECTS:
            sys.stderr.write(f"measuring {name} as {ground.session}\n")
            measured = SUBJECTS[name](ground, plan)
            sys.stdout.write(render_text(measured) + "\n")
            sys.stdout.flush()
            rows += measured
    if asked.write:
        write_block(DOCUMENT, render_markdown(about, rows))


def _end(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one does not disturb the removing
    sys.exit(128 + number)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(SUBJECTS), help="subject; repeatable")
    parser.add_argument("--rounds", type=int, help="rounds of every subject, instead of its own number")
    parser.add_argument("--quick", action="store_true", help="one small round of each, to see that it works")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.name}")
    asked = parser.parse_args(arguments)
    if asked.rounds is not None and asked.rounds < 1:
        parser.error("--rounds takes a number from 1 on")
    if asked.write and (asked.only or asked.quick):
        parser.error("--write keeps whole tables only: leave out --only and --quick")
    return asked


if __name__ == "__main__":
    main()
