"""The warm pool: started servers that wait to be claimed, kept alive only as long as their keeper lives."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import DevPostgresError, LimitReached
from dev_postgres_mcp.instances.claiming import fits, lasts
from dev_postgres_mcp.instances.launches import end_after, plan_launch
from dev_postgres_mcp.instances.quota import sum_memory
from dev_postgres_mcp.instances.sweeping import sweep_quietly
from dev_postgres_mcp.model import PoolStatus, Secret, Spare
from dev_postgres_mcp.parsing import new_password, render_size
from dev_postgres_mcp.runtimes.base import NO_LEASE, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dev_postgres_mcp.instances.creation import Creator, Policy
    from dev_postgres_mcp.instances.sweeping import Sweeper
    from dev_postgres_mcp.model import InstanceSpec, Progress
    from dev_postgres_mcp.runtimes.base import Container, Image, Runtime

log = logging.getLogger(__name__)

KEEPER_SWEEP_SECONDS = 300.0
"""Between two sweeps of one keeper; how rarely commands sweep is for the composition root to say."""

_SHORTAGE_HINT = "drop an instance, or raise the setting `pool_memory_share`"
LONGEST_PAUSE = 60.0
"""After a defect of ours that keeps on showing."""


@dataclass(frozen=True, kw_only=True)
class PoolRules:
    """Keep `size` spares, each taking at most `memory_share` of the engine's free memory.

    A spare outlives the last word of its keeper by `spare_ttl` seconds.
    """

    size: int
    spare_ttl: float
    memory_share: float


class WarmPool:
    """Spares of the default spec on one runtime.  Thread-safe."""

    def __init__(
        self,
        runtime: Runtime,
        policy: Policy,
        *,
        creator: Creator,
        spec: Callable[[], InstanceSpec],
        rules: PoolRules,
    ) -> None:
        """Keep spares of `spec` by these rules."""
        self._runtime = runtime
        self._policy = policy
        self._creator = creator
        self._spec = spec
        self._size = rules.size
        self._ttl = rules.spare_ttl
        self._share = rules.memory_share

    @property
    def size(self) -> int:
        """How many spares a server keeps."""
        return self._size

    @property
    def renew_seconds(self) -> float:
        """How often a keeper has to give word."""
        return self._ttl / 3

    def status(self) -> PoolStatus:
        """Return the spares of the engine, whoever keeps them, and why there is none to claim."""
        containers = self._runtime.list()
        return PoolStatus(
            size=self._size,
            spares=tuple(_describe(one) for one in containers if one.role is Role.SPARE and one.running),
            reason=self._find_reason(containers),
        )

    def fill(
        self,
        size: int | None = None,
        *,
        seconds: float = 0.0,
        progress: Callable[[Progress], None] | None = None,
        deadline: Deadline,
    ) -> PoolStatus:
        """Start spares until `size` of the default spec are there; they live `seconds`, or longer when renewed.

        An absent image is pulled only when somebody sees the `progress`; else the first create does that.
        Raises LimitReached when the engine has not enough free memory for another.
        """
        spec = replace(self._spec(), password=Secret(new_password()))
        if progress is None and self._runtime.find_image(spec.image, deadline=deadline) is None:
            return self.status()
        progress = progress or (lambda _: None)
        base = self._creator.ensure_base(spec.image, progress=progress, deadline=deadline)
        image = self._creator.ensure_prepared(base, progress=progress, deadline=deadline)
        wanted = self._size if size is None else size
        while sum(self._counts(one, spec, base) for one in self._runtime.list()) < wanted:
            deadline.check("filling the pool")
            self._check_memory(spec.limits.memory)
            launch = replace(
                plan_launch(
                    replace(spec, password=Secret(new_password()), database="postgres", username="postgres"),
                    image,
                    patience=self._policy.create_timeout,
                    hard_end=self._creator.hard_end(),
                ),
                role=Role.WARMING,
                maker=self._policy.session,
                spare_until=datetime.now(UTC) + timedelta(seconds=max(seconds, self._ttl)),
            )
            starting = deadline.part(self._policy.create_timeout, undoable=True)
            container = self._creator.start(launch, launch.record, progress=progress, deadline=starting)
            self._creator.tell(container, launch.record, NO_LEASE)
            # Not before: a claimant changes the password, with which the lines above wait for it.
            self._runtime.offer(container, deadline=starting)
        return self.status()

    def renew(self, *, deadline: Deadline) -> None:
        """Let the spares of this session live on; one that was claimed or has gone meanwhile is no error."""
        until = datetime.now(UTC) + timedelta(seconds=self._ttl)
        end = end_after(self._spec().ttl, self._creator.hard_end())
        # Two keepers that begin at once may both fill: what is too many is let go.
        for spare in self._own()[: self._size]:
            # One that is too old to be claimed ends by itself, and another takes its place.
            if lasts(spare, end):
                with suppress(DevPostgresError):
                    self._runtime.renew(spare, until, deadline=deadline)

    def drain(self, *, own: bool = False) -> tuple[str, ...]:
        """Remove the spares of the engine, or only this session's; return their ids."""
        spares = [one for one in self._coming() if not own or one.maker == self._policy.session]
        return tuple(spare.id for spare in spares if self._runtime.remove(spare.container_id))

    def _check_memory(self, memory: int) -> None:
        """Raise LimitReached when a spare would take more than its share of what is free."""
        shortage = self._find_shortage(memory, self._runtime.list())
        if shortage:
            raise LimitReached(shortage, hint=_SHORTAGE_HINT)

    def _find_shortage(self, memory: int, containers: Sequence[Container]) -> str:
        """Return why there is no room for a spare; an empty text when there is, or the engine does not tell."""
        total = self._runtime.engine().memory
        free = total - sum_memory(containers)
        if not total or memory <= free * self._share:
            return ""
        return (
            f"a spare of {render_size(memory)} is more than {self._share:.0%} of the "
            f"{render_size(max(0, free))} that are free on the engine"
        )

    def _find_reason(self, containers: Sequence[Container]) -> str:
        """Return why a create with the defaults finds no spare; an empty text when it finds one."""
        spec = self._spec()
        base = self._runtime.find_image(spec.image)
        usable = {one.role for one in containers if base is not None and self._counts(one, spec, base)}
        if Role.SPARE in usable:
            return ""
        if Role.WARMING in usable:
            return "one is being started: ask again in a second"
        if not self._size:
            return "a server keeps none: raise the setting `pool_size`, or start some with `postgres pool fill --size 1`"
        if base is None:
            return f"{spec.image} is not there yet: a create or `postgres pool fill` pulls it"
        shortage = self._find_shortage(spec.limits.memory, containers)
        if shortage:
            return f"{shortage}: {_SHORTAGE_HINT}"
        return "a server (`mcp serve`) starts them, unless it is busy; `postgres pool fill` starts some now"

    def _counts(self, one: Container, spec: InstanceSpec, base: Image) -> bool:
        """Tell whether a container is, or is to be, a spare that a create of `spec` can claim."""
        return (
            one.role in {Role.SPARE, Role.WARMING}
            and one.running
            and fits(one, spec, base, contract=self._runtime.capabilities.contract)
            and lasts(one, end_after(spec.ttl, self._creator.hard_end()))
        )

    def _spares(self) -> list[Container]:
        return [one for one in self._runtime.list() if one.role is Role.SPARE and one.running]

    def _coming(self) -> list[Container]:
        """Return the spares and what is to be one."""
        roles = {Role.SPARE, Role.WARMING}
        return [one for one in self._runtime.list() if one.role in roles and one.running]

    def _own(self) -> list[Container]:
        return [spare for spare in self._spares() if spare.maker == self._policy.session]


class Keeper:
    """Keeps a pool filled and the engine swept while a server lives, on one thread of its own."""

    def __init__(self, pool: WarmPool, creator: Creator, sweeper: Sweeper) -> None:
        """Nothing runs before `start`."""
        self._pool = pool
        self._creator = creator
        self._sweeper = sweeper
        self._deadline = Deadline(threading.TIMEOUT_MAX)
        self._wanted = threading.Event()
        self._sweep_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin to keep."""
        self._thread.start()

    def refill(self) -> None:
        """Look at the pool soon: a spare may have been claimed."""
        self._wanted.set()

    def stop(self, seconds: float) -> None:
        """End: what is being started is undone, and the spares of this session are removed."""
        self._deadline.cancel()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(seconds)
        with suppress(DevPostgresError):
            self._pool.drain(own=True)

    def _run(self) -> None:
        failures = 0
        while not self._deadline.cancelled:
            try:
                # Spares first: somebody waits for them, and a sweep may meet an engine that is slow to remove.
                self._keep()
                self._sweep_if_due()
                failures = 0
            except Exception:  # the top of this thread: without it nobody would fill, renew or sweep any more
                failures += 1
                pause = min(2.0**failures, LONGEST_PAUSE)
                log.exception("the keeper of the pool met a defect, and goes on in %g s", pause)
                self._deadline.sleep(pause)
            self._wanted.wait(self._pool.renew_seconds)
            self._wanted.clear()

    def _sweep_if_due(self) -> None:
        if time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + KEEPER_SWEEP_SECONDS
            sweep_quietly(self._sweeper)

    def _keep(self) -> None:
        try:
            if self._pool.size:
                self._pool.renew(deadline=self._deadline)
                # No longer than until the next word is due: a create may pull for many minutes.
                self._creator.wait_quiet(self._deadline.part(self._pool.renew_seconds))
                self._pool.fill(deadline=self._deadline)
        except DevPostgresError as exc:
            log.info("the pool is not full: %s", exc.message)


def _describe(spare: Container) -> Spare:
    return Spare(
        id=spare.id,
        version=spare.version,
        port=spare.endpoint.port,
        created_at=spare.created_at,
        maker=spare.maker,
    )
