"""The verbs on instances.  Every face calls these; each reads top to bottom in the order in which it runs.

State lives in the engine, not here: any process on any client of the same engine sees the same instances.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from math import inf
from typing import TYPE_CHECKING

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import EngineFailed, InstanceNotFound, InvalidInput, LoginFailed, ServerNotReady
from dev_postgres_mcp.instances.launches import end_after
from dev_postgres_mcp.instances.lookup import find_container
from dev_postgres_mcp.instances.quota import instances_of, sum_memory
from dev_postgres_mcp.model import Drop, Health, Instance, InstanceList, Lease, Outcome, Progress
from dev_postgres_mcp.parsing import parse_duration, render_duration
from dev_postgres_mcp.runtimes.base import Kind, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dev_postgres_mcp.instances.creation import Creator, Policy
    from dev_postgres_mcp.instances.observation import Observer
    from dev_postgres_mcp.model import InstanceSpec
    from dev_postgres_mcp.runtimes.base import Container, PsqlCommand, Runtime
    from dev_postgres_mcp.sql.base import Sql

_REMOVERS = 8
_POLL_SECONDS = 0.05
NEAR_END_SECONDS = 600.0
"""From when on a health check warns that an instance will end."""


class InstanceManager:
    """Create, list, get, extend, drop and check instances of one runtime.  Thread-safe; no lock across I/O."""

    def __init__(
        self, runtime: Runtime, sql: Sql, policy: Policy, *, observer: Observer, creator: Creator
    ) -> None:
        """Work on `runtime`, log in through `sql`, within `policy`."""
        self._runtime = runtime
        self._sql = sql
        self._policy = policy
        self._observer = observer
        self._creator = creator

    def create(
        self,
        spec: InstanceSpec,
        *,
        progress: Callable[[Progress], None] = lambda _: None,
        deadline: Deadline | None = None,
    ) -> Instance:
        """Return a new instance that has accepted a login; on any failure nothing of it is left."""
        return self._creator.create(spec, progress=progress, deadline=deadline or Deadline(inf))

    def list(self) -> InstanceList:
        """Return all instances of the engine, oldest first, with the sums."""
        containers = self.containers()
        return InstanceList(
            instances=self._observer.observe_all(containers),
            memory=sum_memory(containers),
            max_instances=self._policy.quota.max_instances,
            max_memory=self._policy.quota.max_memory,
        )

    def get(self, ref: str) -> Instance:
        """Return the instance that `ref` names, as it stands now."""
        return self._observer.observe(self.find(ref))

    def extend(
        self,
        ref: str,
        *,
        ttl: str | None = None,
        idle_timeout: str | None = None,
        deadline: Deadline | None = None,
    ) -> Instance:
        """Let an instance live until `ttl` from now, and change its idle timeout; what is left out stays.

        While it is being restored that is waited for.  Durations as `90s`, `8h`, `2d`, `none`.  Raises InvalidInput beyond what was fixed at its creation.
        """
        if ttl is None and idle_timeout is None:
            raise InvalidInput("nothing to change is given", hint="give a ttl, an idle_timeout, or both")
        wanted = None if ttl is None else parse_duration(ttl, what="ttl")
        idle = None if idle_timeout is None else parse_duration(idle_timeout, what="idle_timeout")
        waiting = (deadline or Deadline(inf)).part(self._policy.create_timeout)
        container = self.find(ref)
        while True:
            state = self._runtime.read_state(container)
            if state is None or not container.running:
                raise ServerNotReady(
                    f"{container.id} does not run and cannot be extended", hint="create a new one"
                )
            check_end(container, wanted)
            lease = Lease(
                expires_at=state.lease.expires_at if ttl is None else end_after(wanted, container.hard_end),
                idle_timeout=state.lease.idle_timeout if idle_timeout is None else idle,
            )
            self._runtime.write_state(container, lease, deadline=waiting)
            # A restore that had looked at the lease before brings the old one back.
            successor = self._find_successor(container, waiting)
            if successor is None:
                return self._observer.observe(container)
            container = successor

    def drop(self, refs: Sequence[str]) -> tuple[Drop, ...]:
        """Remove instances with all they hold.  What is gone already is no error.

        An ambiguous reference raises AmbiguousReference before anything is removed.
        """
        containers = self._droppable()
        found = [self._match_or_none(ref, containers) for ref in refs]
        with ThreadPoolExecutor(_REMOVERS) as pool:
            drops = [pool.submit(self._drop_one, *pair) for pair in zip(refs, found, strict=True)]
        return tuple(drop.result() for drop in drops)

    def drop_all(self) -> tuple[Drop, ...]:
        """Remove every instance of the engine."""
        return self.drop([container.id for container in self._droppable()])

    def health_check(self, ref: str) -> Health:
        """Log in, ask the server about itself and the engine about its memory; a dead one leaves evidence."""
        container = self.find(ref)
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
        return Health(instance=instance, healthy=True, facts=facts, usage=usage, hint=warn_of_end(instance))

    def logs(self, ref: str, *, tail: int) -> str:
        """Return the last lines of the server's log, the instance's password struck out."""
        container = self.find(ref)
        state = self._runtime.read_state(container)
        text = self._runtime.logs(container.container_id, tail=tail)
        return text.replace(state.record.password.reveal(), "***") if state is not None else text

    def psql(self, ref: str) -> PsqlCommand:
        """Return how to run psql in the instance."""
        container = self.find(ref)
        state = self._runtime.read_state(container)
        if state is None or not container.running:
            raise ServerNotReady(
                f"{container.id} has no running server to connect to",
                hint="`dev-postgres-mcp postgres get` says what became of it",
            )
        return self._runtime.psql(container.container_id, state.record.conninfo(container.endpoint))

    def name_all(self, refs: Sequence[str]) -> tuple[str, ...]:
        """Return `id (name)` of each reference that is there, to show a person what a drop would take."""
        containers = self.containers()
        found = [self._match_or_none(ref, containers) for ref in refs]
        names = self._observer.names([container for container in found if container is not None])
        return tuple(
            f"{container.id} ({names.get(container.id, 'no name')})"
            for container in found
            if container is not None
        )

    def complete(self, prefix: str) -> tuple[str, ...]:
        """Return the ids that start with `prefix`, from one cheap look at the engine."""
        return tuple(container.id for container in self.containers() if container.id.startswith(prefix))

    def containers(self) -> tuple[Container, ...]:
        """Return the containers of all instances, oldest first."""
        return instances_of(self._runtime.list())

    def find(self, ref: str) -> Container:
        """Return the container that `ref` names, with its evidence."""
        return self._runtime.inspect(self._match(ref, self.containers()).container_id)

    def _match(self, ref: str, containers: Sequence[Container]) -> Container:
        return find_container(ref, containers, lambda: self._observer.names(containers))

    def _match_or_none(self, ref: str, containers: Sequence[Container]) -> Container | None:
        try:
            return self._match(ref, containers)
        except InstanceNotFound:
            return None

    def _drop_one(self, ref: str, container: Container | None) -> Drop:
        removed = container is not None and self._runtime.remove(container.container_id)
        if container is not None:
            self._remove_restoring(container)
        if container is not None and container.image_kind is Kind.BRANCH:
            # Made for this branch alone; where a branch of it still stands on it, a sweep comes back to it.
            with suppress(EngineFailed):
                self._runtime.remove_image(container.image_id)
        return Drop(
            ref=ref,
            id=container.id if container is not None else "",
            outcome=Outcome.DROPPED if removed else Outcome.ALREADY_GONE,
        )

    def _find_successor(self, container: Container, deadline: Deadline) -> Container | None:
        """Return what a restore has put in a container's place, once it is there; None when nobody restores it."""
        while True:
            same = [one for one in self._runtime.list(deadline=deadline) if one.id == container.id]
            # Whose time is over was left by a dead restorer: a sweep decides about it.
            now = datetime.now(UTC)
            if not any(one.role is Role.RESTORING and now < one.ready_by for one in same):
                break
            deadline.sleep(_POLL_SECONDS)
            deadline.check(f"waiting until {container.id} is restored")
        others = (one for one in instances_of(same) if one.container_id != container.container_id)
        return next(others, None)

    def _droppable(self) -> tuple[Container, ...]:
        """Return the instances, also those of which only the restoring container is there for the moment."""
        containers = self._runtime.list()
        instances = instances_of(containers)
        ids = {container.id for container in instances}
        alone = [one for one in containers if one.role is Role.RESTORING and one.id not in ids]
        return (*instances, *alone)

    def _remove_restoring(self, container: Container) -> None:
        """Remove what a restore has made for the place of a container: it would bring back what was dropped."""
        for other in self._runtime.list():
            if other.id == container.id and other.role is Role.RESTORING:
                self._runtime.remove(other.container_id)


def check_end(container: Container, ttl: float | None) -> None:
    """Raise InvalidInput when `ttl` seconds from now are beyond the container's hard end."""
    limit = container.hard_end
    if ttl is not None and limit is not None and datetime.now(UTC) + timedelta(seconds=ttl) > limit:
        raise InvalidInput(
            f"{container.id} may not live longer than until {limit:%Y-%m-%d %H:%M:%S} UTC",
            hint="`max_lifetime` was fixed when it was created: branch it, or create a new one",
        )


def warn_of_end(instance: Instance) -> str:
    """Return a warning when an instance will end soon, else an empty text."""
    end = instance.lease.expires_at
    left = (end - datetime.now(UTC)).total_seconds() if end else NEAR_END_SECONDS
    if left >= NEAR_END_SECONDS:
        return ""
    return f"it ends in {render_duration(max(0, round(left)))}: extend it if it is still needed"
