"""The last steps to an instance, whether its server was started or claimed: names, password, extensions, a login."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import DevPostgresError
from dev_postgres_mcp.instances.observation import describe
from dev_postgres_mcp.instances.readiness import wait_ready
from dev_postgres_mcp.model import Status
from dev_postgres_mcp.runtimes.base import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.instances.observation import Observer
    from dev_postgres_mcp.model import Conninfo, Instance, Lease
    from dev_postgres_mcp.runtimes.base import Container, Delivery, Record, Runtime
    from dev_postgres_mcp.sql.base import Sql


class Handover:
    """Makes servers answer to what is wanted, and tells of them.  Thread-safe; keeps nothing."""

    def __init__(self, runtime: Runtime, sql: Sql, observer: Observer) -> None:
        """Work on `runtime`, log in through `sql`, let `observer` know of what is ready."""
        self._runtime = runtime
        self._sql = sql
        self._observer = observer

    def wait(self, container: Container, conninfo: Conninfo, deadline: Deadline, *, with_init: bool) -> None:
        """Return as soon as a login works; raises ServerNotReady, or InitFailed when scripts were given."""
        wait_ready(
            self._runtime,
            self._sql,
            container.container_id,
            conninfo,
            with_init=with_init,
            deadline=deadline,
        )

    def settle(
        self,
        container: Container,
        born: Conninfo,
        wanted: Record,
        deadline: Deadline,
        *,
        copy: bool = False,
        delivery: Delivery | None = None,
    ) -> None:
        """Make a server that answers to `born` answer to what is wanted, and see that it does."""
        final = wanted.conninfo(container.endpoint)
        if final != born or delivery is not None:
            self._sql.adjust(born, final, copy=copy, delivery=delivery, deadline=deadline)
            self.wait(container, final, deadline, with_init=False)

    def complete(
        self, container: Container, record: Record, extensions: Sequence[str], deadline: Deadline
    ) -> None:
        """Create the extensions that were asked for; raises when the time is over, since nothing is undone later."""
        if extensions:
            self._sql.create_extensions(record.conninfo(container.endpoint), extensions, deadline=deadline)
        deadline.check(f"finishing {container.name}")

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
    def removing_on_failure(self, container: Container, deadline: Deadline) -> Iterator[None]:
        """Take a container back when what is done with it fails."""
        try:
            yield
        except BaseException:
            with suppress(DevPostgresError):
                self._runtime.remove(container.container_id, deadline=deadline.undoing())
            raise
