"""How an instance comes to be: a spare is claimed, else a container is started, on a prepared image if there can be one."""

from __future__ import annotations

import logging
import re
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import (
    Cancelled,
    DeadlineExceeded,
    DevPostgresError,
    EngineDown,
    EngineFailed,
    EngineUnsupported,
    InitFailed,
    InstanceNotFound,
    InvalidInput,
    LimitReached,
)
from dev_postgres_mcp.instances.observation import describe
from dev_postgres_mcp.instances.quota import Quota, instances_of
from dev_postgres_mcp.instances.readiness import wait_ready
from dev_postgres_mcp.model import Lease, Progress, Status
from dev_postgres_mcp.parsing import new_id
from dev_postgres_mcp.runtimes.base import NAME_PREFIX, Bootstrap, Launch, Record, Role, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.instances.observation import Observer
    from dev_postgres_mcp.model import Conninfo, Instance, InstanceSpec
    from dev_postgres_mcp.runtimes.base import Container, Delivery, Image, Runtime
    from dev_postgres_mcp.sql.base import Sql

log = logging.getLogger(__name__)

_BOOTSTRAP_NAME = "dev_postgres_mcp_bootstrap"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ .@-]*")
_PREPARED = Bootstrap(database="postgres", username="postgres")
_QUIET_SECONDS = 0.3
_NEARLY = timedelta(hours=1)


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
        self._sql = sql
        self._observer = observer
        self._policy = policy
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
            claimed = self._claim_any(spec, base, containers, deadline)
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
        with self._removing_on_failure(container, deadline):
            if launch.role is Role.INSTANCE:
                present = instances_of(self._runtime.list(deadline=deadline))
                self._policy.quota.keep(container.container_id, present)
            progress(Progress(message="waiting for the first login"))
            self._finish(launch, wanted, container, extensions, deadline)
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

    def _claim_any(
        self, spec: InstanceSpec, base: Image, containers: Sequence[Container], deadline: Deadline
    ) -> Instance | None:
        """Return an instance made from a spare; None when no spare fits or each was lost to somebody."""
        if spec.init or spec.seed or spec.settings:
            return None
        for spare in containers:
            if (
                spare.role is Role.SPARE
                and spare.running
                and fits(spare, spec, base, contract=self._runtime.capabilities.contract)
                and lasts(spare, end_after(spec.ttl, self.hard_end()))
            ):
                claiming = deadline.part(self._policy.create_timeout, undoable=True)
                claimed = self._claim(spec, spare, claiming)
                if claimed is not None:
                    return claimed
        return None

    def _claim(self, spec: InstanceSpec, spare: Container, deadline: Deadline) -> Instance | None:
        state = None
        # A hung one must not stop every create: if it is the engine, the next call says so.
        with suppress(InstanceNotFound, EngineFailed, EngineDown):
            state = self._runtime.read_state(spare)
        container = self._runtime.claim(spare, deadline=deadline) if state is not None else None
        if state is None or container is None:
            return None
        record = build_record(spec, spare.id)
        lease = start_lease(spec, spare.hard_end)
        born = state.record.conninfo(container.endpoint)
        try:
            with self._removing_on_failure(container, deadline):
                present = instances_of(self._runtime.list(deadline=deadline))
                self._policy.quota.keep_claimed(container.container_id, present)
                delivery = self._runtime.delivery(container, lease, record)
                if delivery is None:
                    self._runtime.write_state(container, lease, record=record, deadline=deadline)
                self._adjust(born, container, record, deadline, delivery=delivery)
                if spec.extensions:
                    conninfo = record.conninfo(container.endpoint)
                    self._sql.create_extensions(conninfo, spec.extensions, deadline=deadline)
                deadline.check(f"finishing the claimed {container.name}")
        except (Cancelled, DeadlineExceeded, LimitReached):
            raise
        except InitFailed:
            if spec.extensions:
                raise
            return None
        except DevPostgresError as exc:
            log.info("the spare %s was lost: %s", spare.id, exc.message)
            return None
        return self.tell(container, record, lease)

    def _finish(
        self,
        launch: Launch,
        wanted: Record,
        container: Container,
        extensions: Sequence[str],
        deadline: Deadline,
    ) -> None:
        born = launch.record.conninfo(container.endpoint)
        names = launch.bootstrap
        born = born.on(database=names.database, username=names.username)
        self._wait(container, born, deadline, with_init=bool(launch.init))
        self._adjust(born, container, wanted, deadline, copy=bool(launch.image.seed))
        if extensions:
            self._sql.create_extensions(wanted.conninfo(container.endpoint), extensions, deadline=deadline)
        deadline.check(f"finishing {container.name}")

    def _adjust(
        self,
        born: Conninfo,
        container: Container,
        wanted: Record,
        deadline: Deadline,
        *,
        copy: bool = False,
        delivery: Delivery | None = None,
    ) -> None:
        """Make the server answer to what is wanted, and see that it does."""
        final = wanted.conninfo(container.endpoint)
        if final != born or delivery is not None:
            self._sql.adjust(born, final, copy=copy, delivery=delivery, deadline=deadline)
            self._wait(container, final, deadline, with_init=False)

    def _wait(self, container: Container, conninfo: Conninfo, deadline: Deadline, *, with_init: bool) -> None:
        wait_ready(
            self._runtime,
            self._sql,
            container.container_id,
            conninfo,
            with_init=with_init,
            deadline=deadline,
        )

    def tell(self, container: Container, record: Record, lease: Lease) -> Instance:
        """Return the instance that has just become ready, and remember what is known of it."""
        state = State(record=record, lease=lease)
        self._runtime.remember(container, state)
        return self.show(container, state)

    def show(self, container: Container, state: State) -> Instance:
        """Return the instance that has just become ready, beside which `state` was read."""
        self._observer.remember_ready(container)
        return describe(container, state.record, state.lease, runtime=self._runtime.name, status=Status.READY)

    @contextmanager
    def _removing_on_failure(self, container: Container, deadline: Deadline) -> Iterator[None]:
        try:
            yield
        except BaseException:
            with suppress(DevPostgresError):
                self._runtime.remove(container.container_id, deadline=deadline.undoing())
            raise

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


def fits(spare: Container, spec: InstanceSpec, base: Image, *, contract: str) -> bool:
    """Tell whether a spare is what a cold start of `spec` would give, but for what SQL can adjust.

    One of another `contract` comes from an older or newer program, which writes beside it in its own way.
    """
    same = not contract or spare.contract == contract
    return same and spare.base_id == base.id and spare.limits == spec.limits


def lasts(spare: Container, end: datetime | None) -> bool:
    """Tell whether a spare may live until `end`, as a container that is started now could, or nearly so."""
    return spare.hard_end is None or (end is not None and end - spare.hard_end <= _NEARLY)


def start_lease(spec: InstanceSpec, hard_end: datetime | None) -> Lease:
    """Return the lease of an instance that starts to live now."""
    return Lease(expires_at=end_after(spec.ttl, hard_end), idle_timeout=spec.idle_timeout)


def end_after(ttl: float | None, hard_end: datetime | None) -> datetime | None:
    """Return the moment `ttl` seconds from now, at most `hard_end`."""
    end = in_seconds(ttl) if ttl is not None else None
    return min((moment for moment in (end, hard_end) if moment is not None), default=None)


def in_seconds(seconds: float) -> datetime:
    """Return the moment that many seconds from now, on the next whole second, as leases are kept."""
    return (datetime.now(UTC) + timedelta(seconds=seconds + 1)).replace(microsecond=0)


def build_record(spec: InstanceSpec, instance_id: str) -> Record:
    """Return what is kept beside the server of `spec`."""
    return Record(
        id=instance_id,
        name=spec.name or NAME_PREFIX + instance_id,
        database=spec.database,
        username=spec.username,
        password=spec.password,
        created_at=datetime.now(UTC),
        owner=spec.owner,
        labels=spec.labels,
    )


def plan_launch(
    spec: InstanceSpec, image: Image, *, patience: float, hard_end: datetime | None = None
) -> Launch:
    """Return what the runtime is to start for `spec`, under a fresh id."""
    names = Bootstrap(database=_bootstrap_name(spec.database), username=_bootstrap_name(spec.username))
    return Launch(
        record=build_record(spec, new_id()),
        bootstrap=_PREPARED if image.prepared else names,
        image=replace(image, version=image.version or spec.version),
        limits=spec.limits,
        lease=start_lease(spec, hard_end),
        hard_end=hard_end,
        settings=spec.settings,
        init=spec.init,
        patience=patience,
    )


def _bootstrap_name(name: str) -> str:
    """Return the name under which the image makes a database or user that is to have `name`.

    Not every name that PostgreSQL takes survives the image's own scripts: initdb pastes the user's name into
    SQL between double quotes, and psql takes a database's name with `=` in it for a connection string.  What
    is not plain is made under a plain name and renamed.
    """
    return name if _PLAIN_NAME.fullmatch(name) else _BOOTSTRAP_NAME
