"""What looks at a session's locks add up to: the strongest mode on each relation, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from dev_postgres_mcp.rehearsals import LockHeld

if TYPE_CHECKING:
    from collections.abc import Iterable

MODES = (
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
"""From weak to strong (PostgreSQL manual, 13.3.1)."""
BLOCKS_WRITES = frozenset(MODES[MODES.index("ShareLock") :])
BLOCKS_READS = frozenset({"AccessExclusiveLock"})


class Lock(NamedTuple):
    """One mode in which one relation is held."""

    relation: str
    kind: str
    mode: str


@dataclass
class _Span:
    """One hold without a break, in seconds of a clock."""

    first: float
    last: float
    statement: int | None

    def seconds(self) -> float:
        return self.last - self.first


@dataclass
class LockBook:
    """Takes down what each look saw.  Not thread-safe."""

    _open: dict[Lock, _Span] = field(default_factory=dict)
    _spans: dict[Lock, list[_Span]] = field(default_factory=dict)

    def see(self, locks: Iterable[Lock], *, at: float, statement: int | None) -> None:
        """Take down one look: what is not seen any more was given back."""
        seen = {lock for lock in locks if lock.mode in MODES}
        for lock in set(self._open) - seen:
            del self._open[lock]
        for lock in seen:
            span = self._open.get(lock)
            if span is None:
                self._open[lock] = self._note(lock, at, statement)
            else:
                span.last = at

    def glimpse(self, locks: Iterable[Lock], *, at: float, statement: int | None) -> None:
        """Take down a look that came too late to say for how long."""
        for lock in locks:
            if lock.mode in MODES:
                self._note(lock, at, statement)

    def release(self, *, at: float) -> None:
        """End all holds: the transaction ended at that time."""
        for span in self._open.values():
            span.last = at
        self._open.clear()

    def held(self) -> tuple[LockHeld, ...]:
        """Return the strongest lock of each relation by name, indexes only when their lock blocks somebody."""
        strongest: dict[str, Lock] = {}
        for lock in sorted(self._spans, key=lambda lock: MODES.index(lock.mode)):
            strongest[lock.relation] = lock
        held = [self._describe(lock) for _, lock in sorted(strongest.items())]
        return tuple(lock for lock in held if lock.kind != "index" or lock.blocks_writes)

    def _note(self, lock: Lock, at: float, statement: int | None) -> _Span:
        span = _Span(at, at, statement)
        self._spans.setdefault(lock, []).append(span)
        return span

    def _describe(self, lock: Lock) -> LockHeld:
        spans = self._spans[lock]
        return LockHeld(
            relation=lock.relation,
            kind=lock.kind,
            mode=lock.mode,
            seconds=max(span.seconds() for span in spans),
            blocks_reads=lock.mode in BLOCKS_READS,
            blocks_writes=lock.mode in BLOCKS_WRITES,
            statement=spans[0].statement,
        )
