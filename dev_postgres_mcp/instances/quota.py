"""How many instances, and how much memory in sum, one engine may carry for us."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import LimitReached
from dev_postgres_mcp.parsing import render_size
from dev_postgres_mcp.runtimes.base import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dev_postgres_mcp.runtimes.base import Container


@dataclass(frozen=True, kw_only=True)
class Quota:
    """Ceilings: a count, and bytes of memory limits in sum."""

    max_instances: int
    max_memory: int

    def admit(self, memory: int, existing: Sequence[Container]) -> None:
        """Raise LimitReached when one more instance of `memory` bytes goes beyond a ceiling."""
        if len(existing) >= self.max_instances:
            raise LimitReached(
                f"there are {len(existing)} instances already, and max_instances is {self.max_instances}"
            )
        in_use = sum_memory(existing)
        if in_use + memory > self.max_memory:
            raise LimitReached(
                f"{render_size(memory)} more would pass max_total_memory: "
                f"{render_size(in_use)} of {render_size(self.max_memory)} are given out"
            )

    def keep(self, container_id: str, existing: Sequence[Container]) -> None:
        """Raise LimitReached when a started container is one too many.

        Creators look before they start, and again here: of several that started at once, the oldest stay.
        """
        # Only one that was started says by its age when it came: see `keep_claimed`.
        older: list[Container] = []
        for container in existing:
            if container.container_id == container_id:
                self.admit(container.limits.memory, older)
                return
            older.append(container)

    def keep_claimed(self, container_id: str, existing: Sequence[Container]) -> None:
        """Raise LimitReached when a claimed spare is one too many.

        A spare may be older than everything that was there before it was claimed, so that all others count.
        """
        for container in existing:
            if container.container_id == container_id:
                others = [one for one in existing if one is not container]
                self.admit(container.limits.memory, others)


def instances_of(containers: Sequence[Container]) -> tuple[Container, ...]:
    """Return the containers that somebody created: spares and helpers are not counted."""
    return tuple(container for container in containers if container.role is Role.INSTANCE)


def sum_memory(containers: Sequence[Container]) -> int:
    """Return the sum of the memory limits in bytes: what the instances may use, not what they do."""
    return sum(container.limits.memory for container in containers)
