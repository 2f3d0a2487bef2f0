"""The verbs.  Every face calls these; each reads top to bottom in the order in which it runs.

State lives in the engine, not here: any process on any client of the same engine sees the same instances.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import (
    DevPostgresError,
    EngineFailed,
    InstanceNotFound,
    LoginFailed,
    ServerNotReady,
)
from dev_postgres_mcp.instances.lookup import find_container
from dev_postgres_mcp.instances.observation import Observer, describe
from dev_postgres_mcp.instances.quota import Quota, sum_memory
from dev_postgres_mcp.instances.readiness import wait_ready
from dev_postgres_mcp.model import Drop, Health, Instance, InstanceList, Outcome, Progress, Status
from dev_postgres_mcp.parsing import new_id
from dev_postgres_mcp.runtimes.base import NAME_PREFIX, Bootstrap, Launch, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dev_postgres_mcp.model import InstanceSpec
    from dev_postgres_mcp.runtimes.base import Container, Image, PsqlCommand, Runtime
    from dev_postgres_mcp.sql.base import Sql

_BOOTSTRAP_NAME = "dev_postgres_mcp_bootstrap"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ .@-]*")
_REMOVERS = 8


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Ceilings and patience.  Timeouts in seconds."""

    quota: Quota
    create_timeout: float
    pull_timeout: float


class InstanceManager:
    """Create, list, get, drop and check instances of one runtime.  Thread-safe; holds no lock across I/O."""

    def __init__(self, runtime: Runtime, sql: Sql, policy: Policy) -> None:
        """Work on `runtime`, log in through `sql`, within `policy`."""
        self._runtime = runtime
        self._sql = sql
        self._policy = policy
        self._observer = Observer(runtime, sql)

    def create(
        self,
        spec: InstanceSpec,
        *,
        progress: Callable[[Progress], None] = lambda _: None,
        deadline: Deadline | None = None,
    ) -> Instance:
        """Return a new instance that has accepted a login; on any failure nothing of it is left."""
        whole = deadline or Deadline(inf)
        looking = whole.part(self._policy.create_timeout)
        self._policy.quota.admit(spec.limits.memory, self._runtime.list(deadline=looking))
        image = self._runtime.find_image(spec.image, deadline=looking)
        if image is None:
            pulling = whole.part(self._policy.pull_timeout)
            image = self._runtime.pull_image(spec.image, progress=progress, deadline=pulling)
        deadline = whole.part(self._policy.create_timeout, undoable=True)
        launch = plan_launch(spec, image, patience=self._policy.create_timeout)
        progress(Progress(message=f"starting {image.ref}"))
        container = self._runtime.start(launch, deadline=deadline)
        try:
            self._policy.quota.keep(container.container_id, self._runtime.list(deadline=deadline))
            progress(Progress(message="waiting for the first login"))
            self._finish(spec, launch, container, deadline)
        except BaseException:
            with suppress(DevPostgresError):
                self._runtime.remove(container.container_id, deadline=deadline.undoing())
            raise
        self._observer.remember(container, launch.record)
        return describe(container, launch.record, runtime=self._runtime.name, status=Status.READY)

    def list(self) -> InstanceList:
        """Return all instances of the engine, oldest first, with the sums."""
        containers = self._runtime.list()
        return InstanceList(
            instances=self._observer.observe_all(containers),
            memory=sum_memory(containers),
            max_instances=self._policy.quota.max_instances,
            max_memory=self._policy.quota.max_memory,
        )

    def get(self, ref: str) -> Instance:
        """Return the instance that `ref` names, as it stands now."""
        return self._observer.observe(self._find(ref))

    def drop(self, refs: Sequence[str]) -> tuple[Drop, ...]:
        """Remove instances with all they hold.  What is gone already is no error.

        An ambiguous reference raises AmbiguousReference before anything is removed.
        """
        containers = self._runtime.list()
        found = [self._match_or_none(ref, containers) for ref in refs]
        with ThreadPoolExecutor(_REMOVERS) as pool:
            drops = [pool.submit(self._drop_one, *pair) for pair in zip(refs, found, strict=True)]
        return tuple(drop.result() for drop in drops)

    def drop_all(self) -> tuple[Drop, ...]:
        """Remove every instance of the engine."""
        return self.drop([container.id for container in self._runtime.list()])

    def health_check(self, ref: str) -> Health:
        """Log in, ask the server about itself and the engine about its memory; a dead one leaves evidence."""
        container = self._find(ref)
        instance = self._observer.observe(container)
        if instance.conninfo is None or not container.running:
            return Health(instance=instance, healthy=False, hint=instance.hint)
        try:
            facts = self._sql.facts(instance.conninfo)
        except LoginFailed as exc:
            return Health(instance=instance, healthy=False, hint=instance.hint or f"no login: {exc.message}")
        usage = None
        with suppress(EngineFailed):
            usage = self._runtime.usage(container.container_id)
        return Health(instance=instance, healthy=True, facts=facts, usage=usage)

    def logs(self, ref: str, *, tail: int) -> str:
        """Return the last lines of the server's log, the instance's password struck out."""
        container = self._find(ref)
        record = self._observer.read_record(container)
        text = self._runtime.logs(container.container_id, tail=tail)
        return text.replace(record.password.reveal(), "***") if record is not None else text

    def psql(self, ref: str) -> PsqlCommand:
        """Return how to run psql in the instance."""
        container = self._find(ref)
        record = self._observer.read_record(container)
        if record is None or not container.running:
            raise ServerNotReady(
                f"{container.id} has no running server to connect to",
                hint="`dev-postgres-mcp postgres get` says what became of it",
            )
        return self._runtime.psql(container.container_id, record.conninfo(container.endpoint))

    def name_all(self, refs: Sequence[str]) -> tuple[str, ...]:
        """Return `id (name)` of each reference that is there, to show a person what a drop would take."""
        containers = self._runtime.list()
        found = [self._match_or_none(ref, containers) for ref in refs]
        names = self._observer.names([container for container in found if container is not None])
        return tuple(
            f"{container.id} ({names.get(container.id, 'no name')})"
            for container in found
            if container is not None
        )

    def complete(self, prefix: str) -> tuple[str, ...]:
        """Return the ids that start with `prefix`, from one cheap look at the engine."""
        return tuple(container.id for container in self._runtime.list() if container.id.startswith(prefix))

    def _finish(self, spec: InstanceSpec, launch: Launch, container: Container, deadline: Deadline) -> None:
        conninfo = launch.record.conninfo(container.endpoint)
        names = launch.bootstrap
        bootstrap = conninfo.on(database=names.database, username=names.username)
        with_init = bool(spec.init)
        wait_ready(
            self._runtime,
            self._sql,
            container.container_id,
            bootstrap,
            with_init=with_init,
            deadline=deadline,
        )
        if conninfo != bootstrap:
            final = {"database": conninfo.database, "username": conninfo.username}
            self._sql.rename(bootstrap, **final, deadline=deadline)
            wait_ready(
                self._runtime, self._sql, container.container_id, conninfo, with_init=False, deadline=deadline
            )
        if spec.extensions:
            self._sql.create_extensions(conninfo, spec.extensions, deadline=deadline)
        deadline.check("finishing the new instance")

    def _find(self, ref: str) -> Container:
        """Return the container that `ref` names, with its evidence."""
        return self._runtime.inspect(self._match(ref, self._runtime.list()).container_id)

    def _match(self, ref: str, containers: Sequence[Container]) -> Container:
        return find_container(ref, containers, lambda: self._observer.names(containers))

    def _match_or_none(self, ref: str, containers: Sequence[Container]) -> Container | None:
        try:
            return self._match(ref, containers)
        except InstanceNotFound:
            return None

    def _drop_one(self, ref: str, container: Container | None) -> Drop:
        removed = container is not None and self._runtime.remove(container.container_id)
        return Drop(
            ref=ref,
            id=container.id if container is not None else "",
            outcome=Outcome.DROPPED if removed else Outcome.ALREADY_GONE,
        )


def plan_launch(spec: InstanceSpec, image: Image, *, patience: float) -> Launch:
    """Return what the runtime is to start for `spec`, under a fresh id."""
    instance_id = new_id()
    return Launch(
        record=Record(
            id=instance_id,
            name=spec.name or NAME_PREFIX + instance_id,
            database=spec.database,
            username=spec.username,
            password=spec.password,
        ),
        bootstrap=Bootstrap(database=_bootstrap_name(spec.database), username=_bootstrap_name(spec.username)),
        image=replace(image, version=image.version or spec.version),
        limits=spec.limits,
        owner=spec.owner,
        labels=spec.labels,
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
