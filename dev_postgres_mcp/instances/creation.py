"""How an instance comes to be: a spare is claimed, else a container is started, on a prepared image if there can be one."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import (
    DeadlineExceeded,
    EngineFailed,
    EngineUnsupported,
    InitFailed,
    InstanceNotFound,
    InvalidInput,
)
from dev_postgres_mcp.instances.claiming import Claimer
from dev_postgres_mcp.instances.handover import Handover
from dev_postgres_mcp.instances.launches import in_seconds, plan_launch
from dev_postgres_mcp.instances.quota import Quota, instances_of
from dev_postgres_mcp.model import Progress
from dev_postgres_mcp.runtimes.base import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.instances.observation import Observer
    from dev_postgres_mcp.model import Instance, InstanceSpec, Lease
    from dev_postgres_mcp.runtimes.base import Container, Image, Launch, Record, Runtime, State
    from dev_postgres_mcp.sql.base import Sql

log = logging.getLogger(__name__)

_QUIET_SECONDS = 0.3


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Ceilings and patience.  Timeouts and `max_lifetime` in seconds; `session` is who starts containers."""

    quota: Quota
    create_timeout: float
    pull_timeout: float
    max_lifetime: float | None = None
    max_snapshot_size: int = 2**62
    session: str = ""


class Creator:
    """Makes instances and spares.  Thread-safe; knows whether creates are running, for the pool to wait."""

    def __init__(self, runtime: Runtime, sql: Sql, observer: Observer, policy: Policy) -> None:
        """Start on `runtime`, log in through `sql`, within `policy`."""
        self._runtime = runtime
        self._policy = policy
        self._handover = Handover(runtime, sql, observer)
        self._claimer = Claimer(runtime, self._handover, policy)
        self._running = 0
        self._changed = threading.Condition()

    def create(
        self, spec: InstanceSpec, *, progress: Callable[[Progress], None], deadline: Deadline
    ) -> Instance:
        """Return a new instance that has accepted a login; on any failure nothing of it is left."""
        with self._creating():
            looking = deadline.part(self._policy.create_timeout)
            containers = self._runtime.list(deadline=looking)
            self._policy.quota.admit(spec.limits.memory, instances_of(containers))
            base = self.ensure_base(spec.image, progress=progress, deadline=deadline)
            claimed = self._claimer.claim_any(
                spec, base, containers, hard_end=self.hard_end(), deadline=deadline
            )
            return claimed or self._start_cold(spec, base, progress=progress, deadline=deadline)

    def ensure_base(self, ref: str, *, progress: Callable[[Progress], None], deadline: Deadline) -> Image:
        """Return the local image, pulled when it is absent."""
        image = self._runtime.find_image(ref, deadline=deadline.part(self._policy.create_timeout))
        if image is None:
            pulling = deadline.part(self._policy.pull_timeout)
            image = self._runtime.pull_image(ref, progress=progress, deadline=pulling)
        return image

    def ensure_prepared(
        self, base: Image, *, progress: Callable[[Progress], None], deadline: Deadline
    ) -> Image:
        """Return the prepared image of `base`; `base` itself, with a word about it, when there can be none."""
        if not self._runtime.capabilities.images:
            return base
        preparing = deadline.part(self._policy.create_timeout, undoable=True)
        try:
            return self._runtime.find_prepared(base, deadline=preparing) or self._runtime.prepare(
                base, progress=progress, deadline=preparing
            )
        except (EngineFailed, EngineUnsupported, InstanceNotFound, InitFailed, DeadlineExceeded) as exc:
            deadline.check(f"preparing {base.ref}")
            progress(Progress(message=f"going on without a prepared image: {exc.message}"))
            log.warning("no prepared image of %s: %s", base.ref, exc.message)
            return base

    def start(
        self,
        launch: Launch,
        wanted: Record,
        *,
        extensions: Sequence[str] = (),
        progress: Callable[[Progress], None],
        deadline: Deadline,
    ) -> Container:
        """Start a container and return it when it answers to `wanted`; a failed one is removed."""
        progress(Progress(message=f"starting {launch.image.ref}"))
        container = self._runtime.start(launch, deadline=deadline)
        with self._handover.removing_on_failure(container, deadline):
            if launch.role is Role.INSTANCE:
                present = instances_of(self._runtime.list(deadline=deadline))
                self._policy.quota.keep(container.container_id, present)
            progress(Progress(message="waiting for the first login"))
            born = launch.record.conninfo(container.endpoint)
            born = born.on(database=launch.bootstrap.database, username=launch.bootstrap.username)
            self._handover.wait(container, born, deadline, with_init=bool(launch.init))
            self._handover.settle(container, born, wanted, deadline, copy=bool(launch.image.seed))
            self._handover.complete(container, wanted, extensions, deadline)
        return container

    def hard_end(self) -> datetime | None:
        """Return the moment beyond which nothing that is started now may live."""
        limit = self._policy.max_lifetime
        return in_seconds(limit) if limit is not None else None

    def wait_quiet(self, deadline: Deadline) -> None:
        """Return when no create has run for a moment; raises when the deadline passes first."""
        with self._changed:
            while self._running:
                deadline.check("waiting for running creates")
                self._changed.wait(_QUIET_SECONDS)
        deadline.sleep(_QUIET_SECONDS)
        deadline.check("waiting for running creates")

    def _start_cold(
        self, spec: InstanceSpec, base: Image, *, progress: Callable[[Progress], None], deadline: Deadline
    ) -> Instance:
        if spec.seed:
            image = self._find_seed(spec, base, deadline)
        elif spec.init:
            image = base
        else:
            image = self.ensure_prepared(base, progress=progress, deadline=deadline)
            try:
                return self._start_on(image, spec, progress=progress, deadline=deadline)
            except EngineFailed as exc:
                # Between the find and the start somebody may have swept it.
                if image is base or self._runtime.find_image(image.id, deadline=deadline) is not None:
                    raise
                log.info("the prepared image of %s was removed: %s", base.ref, exc.message)
                image = self.ensure_prepared(base, progress=progress, deadline=deadline)
        return self._start_on(image, spec, progress=progress, deadline=deadline)

    def _start_on(
        self, image: Image, spec: InstanceSpec, *, progress: Callable[[Progress], None], deadline: Deadline
    ) -> Instance:
        starting = deadline.part(self._policy.create_timeout, undoable=True)
        launch = replace(
            plan_launch(spec, image, patience=self._policy.create_timeout, hard_end=self.hard_end()),
            maker=self._policy.session,
        )
        container = self.start(
            launch, launch.record, extensions=spec.extensions, progress=progress, deadline=starting
        )
        return self.tell(container, launch.record, launch.lease)

    def _find_seed(self, spec: InstanceSpec, base: Image, deadline: Deadline) -> Image:
        found = self._runtime.find_prepared(base, seed=spec.seed, deadline=deadline)
        if found is None:
            raise InvalidInput(
                f"there is no seed {spec.seed!r} for {spec.image}",
                hint=f"make it: dev-postgres-mcp image prepare --seed {spec.seed} --init DIR",
            )
        return found

    def tell(self, container: Container, record: Record, lease: Lease) -> Instance:
        """Return the instance that has just become ready, and remember what is known of it."""
        return self._handover.tell(container, record, lease)

    def show(self, container: Container, state: State) -> Instance:
        """Return the instance that has just become ready, beside which `state` was read."""
        return self._handover.show(container, state)

    @contextmanager
    def _creating(self) -> Iterator[None]:
        with self._changed:
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()
