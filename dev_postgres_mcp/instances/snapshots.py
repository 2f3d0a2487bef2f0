"""Time travel: freeze an instance's whole cluster, start branches from it, put an instance back to it.

A snapshot is an image of the runtime; an instance is frozen while its processes stand still, after a
checkpoint that carries every commit made before the call.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import (
    AmbiguousReference,
    EngineUnsupported,
    InitFailed,
    InstanceNotFound,
    InvalidInput,
    LoginFailed,
    ServerNotReady,
    SnapshotInUse,
    SnapshotNotFound,
)
from dev_postgres_mcp.instances.launches import end_after
from dev_postgres_mcp.instances.lookup import find_snapshot, only_snapshot
from dev_postgres_mcp.instances.quota import instances_of
from dev_postgres_mcp.instances.readiness import look_closer, wait_ready
from dev_postgres_mcp.model import Lease, Limits, Progress, Snapshot
from dev_postgres_mcp.parsing import check_seed, new_id, shorten
from dev_postgres_mcp.runtimes.base import NAME_PREFIX, Bootstrap, Freeze, Kind, Launch, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dev_postgres_mcp.instances.creation import Creator, Policy
    from dev_postgres_mcp.instances.manager import InstanceManager
    from dev_postgres_mcp.model import BranchSpec, Instance
    from dev_postgres_mcp.runtimes.base import Container, Image, Runtime, State, StoredImage
    from dev_postgres_mcp.sql.base import Sql


class Snapshots:
    """Take, list, delete, branch and restore on one runtime.  Thread-safe; keeps nothing."""

    def __init__(
        self, runtime: Runtime, sql: Sql, policy: Policy, *, manager: InstanceManager, creator: Creator
    ) -> None:
        """Find instances through `manager` and start branches through `creator`."""
        self._runtime = runtime
        self._sql = sql
        self._policy = policy
        self._manager = manager
        self._creator = creator

    def take(
        self, ref: str, name: str | None = None, *, ttl: float | None = None, deadline: Deadline | None = None
    ) -> Snapshot:
        """Freeze an instance under `name`, for `ttl` seconds; its clients stay connected.

        Raises InvalidInput when the name is taken.
        """
        deadline = self._part(deadline)
        key = new_id()
        name = check_seed(name) if name is not None else f"snapshot-{key}"
        if any(name in {stored.name, stored.key} for stored in self._stored(deadline)):
            raise InvalidInput(
                f"there is a snapshot {name!r} already", hint="choose another name, or delete it first"
            )
        frozen = self._freeze(ref, Kind.SNAPSHOT, key, name, end_after(ttl, None), deadline)
        return _describe(frozen, self._runtime.list(deadline=deadline))

    def list(self) -> tuple[Snapshot, ...]:
        """Return every snapshot of the engine, oldest first, with the instances that stand on each."""
        containers = self._runtime.list()
        return tuple(_describe(stored, containers) for stored in self._stored(None))

    def delete(self, ref: str, *, force: bool = False) -> Snapshot:
        """Remove a snapshot; `force` drops its branches too.  Raises SnapshotInUse.

        An instance that was restored to it is not dropped by that: nobody thinks of it as the snapshot's.
        """
        stored = find_snapshot(ref, self._stored(None))
        snapshot = _describe(stored, self._runtime.list())
        if snapshot.restored or (snapshot.branches and not force):
            raise _in_use(snapshot)
        self._manager.drop(snapshot.branches)
        if not self._runtime.remove_image(stored.image.id):
            raise SnapshotInUse(f"{snapshot.name} could not be removed: something new stands on it")
        return snapshot

    def branch(
        self,
        source: str,
        spec: BranchSpec,
        *,
        progress: Callable[[Progress], None] = lambda _: None,
        deadline: Deadline | None = None,
    ) -> Instance:
        """Return a new instance that starts from a snapshot, or from an instance as it stands now."""
        deadline = self._part(deadline)
        stored = self._find_source(source, deadline)
        if stored is not None:
            return self._start(stored, spec, progress, deadline)
        progress(Progress(message=f"freezing {source}"))
        key = new_id()
        stored = self._freeze(source, Kind.BRANCH, key, f"branch-{key}", None, deadline)
        try:
            return self._start(stored, spec, progress, deadline)
        except BaseException:
            with suppress(InstanceNotFound):
                self._runtime.remove_image(stored.image.id)
            raise

    def restore(
        self,
        ref: str,
        snapshot: str,
        *,
        progress: Callable[[Progress], None] = lambda _: None,
        deadline: Deadline | None = None,
    ) -> Instance:
        """Put an instance back to a snapshot: same id, port, password and dsn; its clients are disconnected.

        A dead server comes back to life by that.  Raises InvalidInput when the snapshot has another database or
        user, with which the dsn would not work.
        """
        deadline = self._part(deadline)
        stored = find_snapshot(snapshot, self._stored(deadline))
        container, state = self._find_restorable(ref)
        record = state.record
        if (stored.database, stored.username) != (record.database, record.username):
            raise InvalidInput(
                f"{stored.name} has database {stored.database!r} and user {stored.username!r}, and {container.id} "
                f"has {record.database!r} and {record.username!r}",
                hint="branch the snapshot instead",
            )
        progress(Progress(message=f"restoring {container.id} to {stored.name}"))
        launch = replace(self._plan(stored, record, container.limits, deadline), hard_end=container.hard_end)
        # As late as can be: somebody may extend it meanwhile.
        state = self._runtime.read_state(container) or state
        launch = replace(launch, lease=state.lease)
        restored = self._runtime.restore(container, launch, deadline=deadline)
        conninfo = record.conninfo(restored.endpoint)
        waiting = deadline.part(self._policy.create_timeout)
        wait_ready(
            self._runtime, self._sql, restored.container_id, conninfo, with_init=False, deadline=waiting
        )
        return self._creator.show(restored, self._runtime.read_state(restored) or state)

    def _start(
        self,
        stored: StoredImage,
        spec: BranchSpec,
        progress: Callable[[Progress], None],
        deadline: Deadline,
    ) -> Instance:
        limits = Limits(memory=spec.memory or stored.limits.memory, cpus=spec.cpus or stored.limits.cpus)
        self._policy.quota.admit(limits.memory, instances_of(self._runtime.list(deadline=deadline)))
        instance_id = new_id()
        record = Record(
            id=instance_id,
            name=spec.name or NAME_PREFIX + instance_id,
            database=stored.database,
            username=stored.username,
            password=spec.password,
            created_at=datetime.now(UTC),
            owner=spec.owner,
            labels=spec.labels,
        )
        hard_end = self._creator.hard_end()
        lease = Lease(expires_at=end_after(spec.ttl, hard_end), idle_timeout=spec.idle_timeout)
        launch = replace(self._plan(stored, record, limits, deadline), lease=lease, hard_end=hard_end)
        starting = deadline.part(self._policy.create_timeout, undoable=True)
        container = self._creator.start(launch, record, progress=progress, deadline=starting)
        return self._creator.tell(container, record, lease)

    def _plan(self, stored: StoredImage, record: Record, limits: Limits, deadline: Deadline) -> Launch:
        return Launch(
            record=record,
            bootstrap=Bootstrap(database=record.database, username=record.username),
            image=self._load(stored, deadline),
            limits=limits,
            maker=self._policy.session,
            settings=stored.settings,
            patience=self._policy.create_timeout,
        )

    def _load(self, stored: StoredImage, deadline: Deadline) -> Image:
        image = self._runtime.find_image(stored.image.id, deadline=deadline)
        if image is None:
            raise SnapshotNotFound(f"{stored.name} was deleted meanwhile")
        return replace(image, ref=stored.image.ref)

    def _freeze(
        self,
        ref: str,
        kind: Kind,
        key: str,
        name: str,
        expires_at: datetime | None,
        deadline: Deadline,
    ) -> StoredImage:
        if not self._runtime.capabilities.images:
            raise EngineUnsupported(f"the {self._runtime.name} runtime takes no snapshots")
        container, state = self._find_running(ref)
        record = state.record
        self._checkpoint(container, record, deadline)
        freeze = Freeze(
            kind=kind,
            key=key,
            name=name,
            expires_at=expires_at,
            database=record.database,
            username=record.username,
        )
        return self._runtime.freeze(container, freeze, deadline=deadline)

    def _checkpoint(self, container: Container, record: Record, deadline: Deadline) -> None:
        try:
            self._sql.checkpoint(record.conninfo(container.endpoint), deadline=deadline)
        except InitFailed as exc:
            raise ServerNotReady(
                f"{container.id} cannot write what it holds to its files: {exc.message}",
                hint="the engine's disk is most likely full: make room (`docker system df`), then try again",
            ) from exc
        except LoginFailed as exc:
            closer = look_closer(self._runtime, container, record.password, deadline=deadline)
            raise ServerNotReady(
                f"{container.id} accepts no login: {exc.message}",
                hint="it may be recovering, or stand still while somebody else copies it: try again; "
                "its log says more, also when the engine's disk is full",
                evidence=closer.evidence,
            ) from exc

    def _find_running(self, ref: str) -> tuple[Container, State]:
        container = self._manager.find(ref)
        state = self._runtime.read_state(container)
        if state is None or not container.running:
            raise ServerNotReady(f"{container.id} has no running server", hint="`get` says what became of it")
        return container, state

    def _find_restorable(self, ref: str) -> tuple[Container, State]:
        """Return an instance of which at least the record is left."""
        container = self._manager.find(ref)
        if not container.running and not container.dead:
            raise ServerNotReady(
                f"{container.id} is {container.state}: it is put back when it runs, or its server is dead",
                hint="`get` says what to do about it",
            )
        state = self._runtime.read_state(container)
        if state is None:
            raise ServerNotReady(
                f"{container.id} cannot be put back under its password: its record cannot be read",
                hint="branch the snapshot instead",
            )
        return container, state

    def _find_source(self, source: str, deadline: Deadline) -> StoredImage | None:
        """Return the snapshot of that name, None when an instance is meant; raises AmbiguousReference for both."""
        named = [stored for stored in self._stored(deadline) if source in {stored.name, stored.key}]
        if not named:
            return None
        with suppress(InstanceNotFound):
            instance = self._manager.find(source)
            raise AmbiguousReference(
                f"{shorten(source)!r} is a snapshot and the instance {instance.id}",
                hint=f"give the id: {named[0].key} or {instance.id}",
            )
        return only_snapshot(source, named)

    def _stored(self, deadline: Deadline | None) -> tuple[StoredImage, ...]:
        """Return the snapshots; one without a key is not whole, or on its way out."""
        images = self._runtime.images(deadline=deadline)
        return tuple(one for one in images if one.kind is Kind.SNAPSHOT and one.key)

    def _part(self, deadline: Deadline | None) -> Deadline:
        return (deadline or Deadline(inf)).part(self._policy.pull_timeout, undoable=True)


def _in_use(snapshot: Snapshot) -> SnapshotInUse:
    restored = ", ".join(snapshot.restored)
    branches = ", ".join(one for one in snapshot.branches if one not in snapshot.restored)
    carried = [f"the branches {branches}"] if branches else []
    if not restored:
        return SnapshotInUse(f"{snapshot.name} carries {carried[0]}")
    carried.append(f"what was restored to it: {restored}")
    return SnapshotInUse(
        f"{snapshot.name} carries {' and '.join(carried)}",
        hint=f"force drops branches only: drop {restored}, or restore it to another snapshot, then delete again",
    )


def _describe(stored: StoredImage, containers: Sequence[Container]) -> Snapshot:
    standing = [one for one in containers if one.image_id == stored.image.id]
    return Snapshot(
        id=stored.key,
        name=stored.name,
        source=stored.source,
        version=stored.image.version,
        image=stored.image.ref,
        created_at=stored.created_at,
        expires_at=stored.expires_at,
        size=stored.size,
        branches=tuple(one.id for one in standing),
        # What stands on the image of itself was restored, whether or not its runtime has noted that.
        restored=tuple(one.id for one in standing if one.restored or one.id == stored.source),
    )
