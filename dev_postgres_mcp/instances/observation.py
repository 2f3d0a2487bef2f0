"""From what a runtime holds to what an instance is: its state read, its login tried, its status judged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from dev_postgres_mcp.errors import EngineDown, EngineFailed, InstanceNotFound, LoginFailed
from dev_postgres_mcp.instances.readiness import look_closer
from dev_postgres_mcp.model import Instance, Lease, Owner, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dev_postgres_mcp.runtimes.base import Container, Record, Runtime, State
    from dev_postgres_mcp.sql.base import Sql

_WORKERS = 8
_Seen = TypeVar("_Seen")


class Observer:
    """Looks at containers.  Remembers which servers it has seen ready."""

    def __init__(self, runtime: Runtime, sql: Sql) -> None:
        """Look through `runtime` and `sql`."""
        self._runtime = runtime
        self._sql = sql
        self._seen_ready: set[str] = set()

    def observe_all(self, containers: Sequence[Container]) -> tuple[Instance, ...]:
        """Return the instances, side by side; those that vanish meanwhile are left out.

        A login is tried only while an instance is young: what was once ready stays so until its server ends,
        and that is written beside it.
        """
        self._seen_ready &= {container.container_id for container in containers if container.running}
        found = self._look_at_each(containers, self._observe_if_there, self._describe_hung)
        there = (instance for instance in found if instance is not None)
        return tuple(sorted(there, key=lambda instance: (instance.created_at, instance.id)))

    def observe(self, container: Container) -> Instance:
        """Return one instance after a fresh login attempt, with evidence when its server is dead."""
        self._seen_ready.discard(container.container_id)
        state = self._runtime.read_state(container)
        if container.dead:
            with suppress(EngineFailed):
                container = look_closer(self._runtime, container, state.record.password if state else None)
        return self._describe(container, state, trying=True)

    def remember_ready(self, container: Container) -> None:
        """Note what is known already: a login worked."""
        self._seen_ready.add(container.container_id)

    def names(self, containers: Sequence[Container]) -> dict[str, str]:
        """Return display names by instance id; what cannot be read has none."""
        states = self._look_at_each(containers, self._read_if_there, lambda *_: None)
        return {state.record.id: state.record.name for state in states if state is not None}

    def _look_at_each(
        self,
        containers: Sequence[Container],
        look: Callable[[Container], _Seen],
        hung: Callable[[Container, EngineDown], _Seen],
    ) -> list[_Seen]:
        """Return what was seen of each, side by side; `hung` stands in where the engine says nothing about one.

        Raises EngineDown when it says nothing about any.
        """

        def look_or_tell(container: Container) -> _Seen | EngineDown:
            try:
                return look(container)
            except EngineDown as exc:
                return exc

        with ThreadPoolExecutor(_WORKERS) as pool:
            found = list(pool.map(look_or_tell, containers))
        if any(isinstance(one, EngineDown) for one in found):
            # Whether it is the engine or the container: the engine knows.
            self._runtime.list()
        return [
            hung(container, one) if isinstance(one, EngineDown) else one
            for container, one in zip(containers, found, strict=True)
        ]

    def _read_if_there(self, container: Container) -> State | None:
        try:
            return self._runtime.read_state(container)
        except (InstanceNotFound, EngineFailed):
            return None

    def _observe_if_there(self, container: Container) -> Instance | None:
        """Return the instance, None when it has vanished; what the engine cannot show of one hides no other."""
        try:
            state = self._runtime.read_state(container)
            young = datetime.now(UTC) < container.ready_by
            return self._describe(container, state, trying=young or state is None)
        except InstanceNotFound:
            return None
        except EngineFailed as exc:
            return self._describe_unseen(container, exc.message)

    def _describe_hung(self, container: Container, exc: EngineDown) -> Instance:
        return self._describe_unseen(
            container, f"it is broken: {exc.message}; about others the engine does answer: drop this one"
        )

    def _describe_unseen(self, container: Container, reason: str) -> Instance:
        status = Status.EXITED if container.dead else Status.UNHEALTHY
        return describe(container, None, Lease(), runtime=self._runtime.name, status=status, hint=reason)

    def _describe(self, container: Container, state: State | None, *, trying: bool) -> Instance:
        record, lease = (state.record, state.lease) if state else (None, Lease())
        status, hint = self._judge(container, state, trying=trying)
        return describe(container, record, lease, runtime=self._runtime.name, status=status, hint=hint)

    def _judge(self, container: Container, state: State | None, *, trying: bool) -> tuple[Status, str]:
        if container.dead or (state is not None and state.ended is not None):
            return Status.EXITED, (
                "its server has ended: it crashed or was stopped; what it left stays until its lease ends: "
                "restore it to a snapshot, or drop it"
            )
        if container.state == "paused":
            unpause = self._runtime.capabilities.unpause
            advice = f", go on: {unpause.format(container.name)}" if unpause else ""
            return Status.UNHEALTHY, f"it is paused{advice}"
        refusal = self._try_login(container, state) if trying else ""
        if not refusal:
            return Status.READY, ""
        if datetime.now(UTC) < container.ready_by:
            return Status.STARTING, "it is being created: ask again in a second"
        if not container.running:
            return Status.STARTING, "its creation was broken off: drop it"
        return Status.UNHEALTHY, f"no login with the password of its creation: {refusal}; see its logs"

    def _try_login(self, container: Container, state: State | None) -> str:
        """Return why nobody can log in; an empty text when somebody can."""
        if state is None or not container.running:
            return "its record cannot be read" if container.running else "it does not run"
        if container.container_id not in self._seen_ready:
            try:
                self._sql.login(state.record.conninfo(container.endpoint))
            except LoginFailed as exc:
                return exc.message
            self._seen_ready.add(container.container_id)
        return ""


def describe(
    container: Container,
    record: Record | None,
    lease: Lease,
    *,
    runtime: str,
    status: Status,
    hint: str = "",
) -> Instance:
    """Return the instance that a container and what lies beside it make up."""
    ends = [end for end in (lease.expires_at, container.hard_end) if end is not None]
    return Instance(
        id=container.id,
        name=record.name if record is not None else "",
        container_id=container.container_id,
        runtime=runtime,
        version=container.version,
        image=container.image,
        created_at=record.created_at if record is not None else container.created_at,
        status=status,
        limits=container.limits,
        endpoint=container.endpoint,
        lease=Lease(expires_at=min(ends, default=None), idle_timeout=lease.idle_timeout),
        owner=record.owner if record is not None else Owner(session=container.maker),
        labels=record.labels if record is not None else {},
        conninfo=record.conninfo(container.endpoint) if record is not None else None,
        evidence=container.evidence,
        hint=hint or container.note,
    )
