"""From what a runtime holds to what an instance is: its record read, its login tried, its status judged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import EngineFailed, InstanceNotFound, LoginFailed
from dev_postgres_mcp.instances.readiness import look_closer
from dev_postgres_mcp.model import Instance, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dev_postgres_mcp.runtimes.base import Container, Record, Runtime
    from dev_postgres_mcp.sql.base import Sql

_WORKERS = 8


class Observer:
    """Looks at containers.  Remembers records, which do not change, and servers that were seen ready."""

    def __init__(self, runtime: Runtime, sql: Sql) -> None:
        """Look through `runtime` and `sql`."""
        self._runtime = runtime
        self._sql = sql
        self._records: dict[str, Record] = {}
        self._seen_ready: set[str] = set()

    def observe_all(self, containers: Sequence[Container]) -> tuple[Instance, ...]:
        """Return the instances, side by side; those that vanish meanwhile are left out."""
        self._forget_all_but(containers)
        with ThreadPoolExecutor(_WORKERS) as pool:
            found = pool.map(self._observe_if_there, containers)
            return tuple(instance for instance in found if instance is not None)

    def observe(self, container: Container) -> Instance:
        """Return one instance after a fresh login attempt, with evidence when its server is dead."""
        self._seen_ready.discard(container.container_id)
        if not container.dead:
            return self._observe(container)
        record = self.read_record(container)
        with suppress(EngineFailed):
            container = look_closer(self._runtime, container, record.password if record else None)
        return self._observe(container)

    def remember(self, container: Container, record: Record) -> None:
        """Note what is known already: `record` belongs to `container`, and a login worked."""
        self._records[container.container_id] = record
        self._seen_ready.add(container.container_id)

    def names(self, containers: Sequence[Container]) -> dict[str, str]:
        """Return display names by instance id."""
        with ThreadPoolExecutor(_WORKERS) as pool:
            records = pool.map(self._read_record_if_there, containers)
            return {record.id: record.name for record in records if record is not None}

    def read_record(self, container: Container) -> Record | None:
        """Return the record of a container, None while there is none or it belongs to another instance."""
        known = self._records.get(container.container_id)
        if known is not None:
            return known
        record = self._runtime.read_record(container.container_id)
        if record is None or record.id != container.id:
            return None
        self._records[container.container_id] = record
        return record

    def _read_record_if_there(self, container: Container) -> Record | None:
        try:
            return self.read_record(container)
        except (InstanceNotFound, EngineFailed):
            return None

    def _observe_if_there(self, container: Container) -> Instance | None:
        """Return the instance, None when it has vanished; what the engine cannot show of one hides no other."""
        try:
            return self._observe(container)
        except InstanceNotFound:
            return None
        except EngineFailed as exc:
            status = Status.EXITED if container.dead else Status.UNHEALTHY
            return describe(container, None, runtime=self._runtime.name, status=status, hint=exc.message)

    def _observe(self, container: Container) -> Instance:
        record = self.read_record(container)
        status, hint = self._judge(container, record)
        return describe(container, record, runtime=self._runtime.name, status=status, hint=hint)

    def _judge(self, container: Container, record: Record | None) -> tuple[Status, str]:
        can = self._runtime.capabilities
        if container.dead:
            revive = self._advise("or bring it back with its data", can.revive, container)
            return Status.EXITED, (
                f"its server has ended: it crashed, was stopped, or the engine restarted; drop it{revive}"
            )
        if container.state == "paused":
            return Status.UNHEALTHY, f"it is paused{self._advise('go on', can.unpause, container)}"
        refusal = self._try_login(container, record)
        if not refusal:
            return Status.READY, ""
        if datetime.now(UTC) < container.ready_by:
            return Status.STARTING, "it is being created: ask again in a second"
        if not container.running:
            return Status.STARTING, "its creation was broken off: drop it"
        return Status.UNHEALTHY, f"no login with the password of its creation: {refusal}; see its logs"

    @staticmethod
    def _advise(what: str, command: str, container: Container) -> str:
        return f", {what}: {command.format(container.name)}" if command else ""

    def _try_login(self, container: Container, record: Record | None) -> str:
        """Return why nobody can log in; an empty text when somebody can."""
        if record is None or not container.running:
            return "its record cannot be read" if container.running else "it does not run"
        if container.container_id not in self._seen_ready:
            try:
                self._sql.login(record.conninfo(container.endpoint))
            except LoginFailed as exc:
                return exc.message
            self._seen_ready.add(container.container_id)
        return ""

    def _forget_all_but(self, containers: Sequence[Container]) -> None:
        present = {container.container_id for container in containers}
        alive = {container.container_id for container in containers if container.running}
        self._seen_ready &= alive
        for container_id in set(self._records) - present:
            self._records.pop(container_id, None)


def describe(
    container: Container, record: Record | None, *, runtime: str, status: Status, hint: str = ""
) -> Instance:
    """Return the instance that a container and its record make up."""
    return Instance(
        id=container.id,
        name=record.name if record is not None else "",
        container_id=container.container_id,
        runtime=runtime,
        version=container.version,
        image=container.image,
        created_at=container.created_at,
        status=status,
        limits=container.limits,
        endpoint=container.endpoint,
        owner=container.owner,
        labels=container.labels,
        conninfo=record.conninfo(container.endpoint) if record is not None else None,
        evidence=container.evidence,
        hint=hint,
    )
