"""Samples taken in turns, and the rows of the table that they make."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Sample = dict[str, float]
Samples = dict[str, dict[str, tuple[float, ...]]]
"""By contender and measure, one value a round."""

PAUSE_SECONDS = 0.2
"""Between two contenders: what one leaves the engine to do is not done on the next one's time."""


class Unit(StrEnum):
    """What the values of a row are."""

    SECONDS = "s"
    MEGABYTES = "MB"
    CORE = "% of a core"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured.  `rounds` None: as many as the subject finds right; `quick`: small, to see that it works."""

    rounds: int | None = None
    quick: bool = False

    def choose_rounds(self, usual: int) -> int:
        """Return how often each contender runs."""
        return self.rounds or (1 if self.quick else usual)


@dataclass(frozen=True, kw_only=True)
class Target:
    """At most so much: of the row's unit, or times the median of another row."""

    at_most: float
    of: Row | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.  The ratio is that of its median to the median of `beside`.

    `short` is what the row is called where another one is compared with it; without one it is `what`.
    """

    subject: str
    what: str
    short: str = ""
    values: tuple[float, ...]
    unit: Unit = Unit.SECONDS
    beside: Row | None = None
    targets: tuple[Target, ...] = ()

    @property
    def median(self) -> float:
        """The value that half of the rounds did not reach."""
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between these lies the middle half of the rounds."""
        if len(self.values) == 1:
            return self.values[0], self.values[0]
        first, _, third = statistics.quantiles(self.values, n=4, method="inclusive")
        return first, third

    def ratio_to(self, other: Row) -> float:
        """How many times the other row's median this one's is."""
        return self.median / other.median

    def meets(self, target: Target) -> bool:
        """Whether the median is within a target."""
        return (self.ratio_to(target.of) if target.of else self.median) <= target.at_most


def take_turns(
    contenders: Mapping[str, Callable[[], Sample]],
    rounds: int,
    *,
    warm_up: bool = True,
    pause: float = PAUSE_SECONDS,
) -> Samples:
    """Run every contender once a round, each round beginning with another one.

    With `warm_up` a round that does not count comes first: it fills caches and makes what is made once.
    """
    names = list(contenders)
    taken: dict[str, list[Sample]] = {name: [] for name in names}
    for number in range(-1 if warm_up else 0, rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(pause)
            sample = contenders[name]()
            if number >= 0:
                taken[name].append(sample)
    return {
        name: {measure: tuple(sample[measure] for sample in samples) for measure in samples[0]}
        for name, samples in taken.items()
    }


def clock(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
