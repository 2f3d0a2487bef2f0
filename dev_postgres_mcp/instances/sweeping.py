"""Sweep: remove what the engine itself could not, and nothing of a living lease, and nothing that is not ours.

An instance ends by its own PID 1; what is left for a sweep are containers that never got that far, ends that
somebody inside has put off, and images, which have no processes that could end them.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from math import inf
from typing import TYPE_CHECKING

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import DevPostgresError
from dev_postgres_mcp.instances.images import is_stale
from dev_postgres_mcp.model import Leftover
from dev_postgres_mcp.parsing import render_size
from dev_postgres_mcp.runtimes.base import Kind, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from dev_postgres_mcp.instances.creation import Policy
    from dev_postgres_mcp.runtimes.base import Container, Runtime, StoredImage

log = logging.getLogger(__name__)

GRACE = timedelta(seconds=30)
"""For PID 1 to end by itself, and for creators to undo what they began."""
RESTORE_SECONDS = 60.0
REMOVE_SECONDS = 30.0
"""For a removal that somebody else has begun, too."""


class Sweeper:
    """Sweeps one runtime.  Thread-safe; several may sweep at once."""

    def __init__(
        self, runtime: Runtime, policy: Policy, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Sweep `runtime` within the ceilings of `policy`; `clock` tells what is late."""
        self._runtime = runtime
        self._policy = policy
        self._clock = clock

    def sweep(self, *, dry_run: bool = False, deadline: Deadline | None = None) -> tuple[Leftover, ...]:
        """Remove leftovers and return them; with `dry_run` only look.  What a deadline cuts off comes up again."""
        deadline = deadline or Deadline(inf)
        now = self._clock()
        containers = self._runtime.list(deadline=deadline)
        swept = [
            Leftover(kind="container", name=container.name, reason=reason)
            for container, reason in self._find_containers(containers, now)
            if dry_run or self._remove_container(container, deadline)
        ]
        gone = {leftover.name for leftover in swept}
        present = [container for container in containers if container.name not in gone]
        swept += [
            Leftover(kind=f"{stored.kind.value} image", name=stored.name or stored.image.ref, reason=reason)
            for stored, reason in self._find_images(present, now, deadline)
            if dry_run or self._remove_image(stored, deadline)
        ]
        if not dry_run:
            self._runtime.forget_all_but(present)
        return tuple(swept)

    def _find_containers(
        self, containers: Sequence[Container], now: datetime
    ) -> Iterator[tuple[Container, str]]:
        for container in containers:
            reason = self._judge(container, now)
            if reason:
                yield container, reason

    def _judge(self, container: Container, now: datetime) -> str:
        """Return why a container is a leftover; an empty text when it is none."""
        late = now > container.ready_by + GRACE
        if container.hard_end is not None and now > container.hard_end + GRACE:
            return "it is beyond its longest life"
        if container.role is Role.RESTORING:
            return "a restore was broken off" if late else ""
        if container.role is Role.PREPARING:
            return "the making of an image was broken off" if late else ""
        if not container.running and container.state != "paused":
            return "its server never started, or has ended" if late else ""
        return self._judge_paused(container, now) if late and container.state == "paused" else ""

    def _judge_paused(self, container: Container, now: datetime) -> str:
        """Look at the lease of a container whose PID 1 stands still with it; every other one looks itself."""
        with suppress(DevPostgresError):
            state = self._runtime.read_state(container)
            end = state.lease.expires_at if state else None
            return "it is paused, and its lease is over" if end is not None and now > end + GRACE else ""
        return ""

    def _remove_container(self, container: Container, deadline: Deadline) -> bool:
        with suppress(DevPostgresError):
            # As it stands now: a restorer may have come a step further since the first look.
            containers = self._runtime.list(deadline=deadline) if container.role is Role.RESTORING else ()
            if container.role is Role.RESTORING and not any(
                other.role is Role.INSTANCE and other.id == container.id and not other.dead
                for other in containers
            ):
                # Its restorer died after it had ended the old one: the new one is the instance.
                finishing = deadline.part(RESTORE_SECONDS)
                return self._runtime.finish_restore(container, deadline=finishing) is not None
            return self._runtime.remove(container.container_id, deadline=deadline.part(REMOVE_SECONDS))
        return False

    def _remove_image(self, stored: StoredImage, deadline: Deadline) -> bool:
        deadline.check("sweeping images")
        with suppress(DevPostgresError):
            return self._runtime.remove_image(stored.image.id, deadline=deadline)
        return False

    def _find_images(
        self, containers: Sequence[Container], now: datetime, deadline: Deadline
    ) -> Iterator[tuple[StoredImage, str]]:
        used = {container.image_id for container in containers}
        kept: list[StoredImage] = []
        for stored in self._runtime.images(deadline=deadline):
            reason = "" if stored.image.id in used else self._judge_image(stored, now, deadline)
            if reason:
                yield stored, reason
            elif stored.kind is Kind.SNAPSHOT and stored.key:
                kept.append(stored)
        yield from self._beyond_ceiling(kept, used)

    def _judge_image(self, stored: StoredImage, now: datetime, deadline: Deadline) -> str:
        # By the time before the commit, which takes a while for many gigabytes.
        patience = timedelta(seconds=self._policy.pull_timeout + self._policy.create_timeout)
        young = now < stored.created_at + patience + GRACE
        if stored.kind is Kind.BRANCH:
            return "" if young else "its branch is gone"
        if stored.kind is Kind.SNAPSHOT and not stored.key:
            return "" if young else "its making was broken off"
        if stored.kind is Kind.SNAPSHOT:
            over = stored.expires_at is not None and now > stored.expires_at
            return "its lease is over" if over else ""
        if not stored.key:
            return "a newer one has taken its name"
        # A seed holds what somebody put into it: that one goes by name only.
        with suppress(DevPostgresError):
            if not stored.name and is_stale(self._runtime, stored, deadline=deadline):
                return "its base image has changed or is gone"
        return ""

    def _beyond_ceiling(
        self, snapshots: Sequence[StoredImage], used: Collection[str]
    ) -> Iterator[tuple[StoredImage, str]]:
        """Yield the oldest unused snapshots until the rest is below the ceiling for the disk; never the newest."""
        ceiling = self._policy.max_snapshot_size
        size = sum(stored.size for stored in snapshots)
        for stored in snapshots[:-1]:
            if size > ceiling and stored.image.id not in used:
                size -= stored.size
                yield stored, f"snapshots take more than max_snapshot_size, {render_size(ceiling)}"


def sweep_quietly(sweeper: Sweeper, *, deadline: Deadline | None = None) -> None:
    """Sweep beside other work: what goes wrong is logged and comes up again when it matters."""
    try:
        for leftover in sweeper.sweep(deadline=deadline):
            log.info("swept %s %s: %s", leftover.kind, leftover.name, leftover.reason)
    except DevPostgresError as exc:
        log.info("no sweep: %s", exc.message)
