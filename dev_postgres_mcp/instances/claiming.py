"""Claiming: a spare that waits becomes the instance that was asked for, and nobody can tell."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import (
    Cancelled,
    DeadlineExceeded,
    DevPostgresError,
    EngineDown,
    EngineFailed,
    InitFailed,
    InstanceNotFound,
    LimitReached,
)
from dev_postgres_mcp.instances.launches import build_record, end_after, start_lease
from dev_postgres_mcp.instances.quota import instances_of
from dev_postgres_mcp.runtimes.base import Role

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.instances.creation import Policy
    from dev_postgres_mcp.instances.handover import Handover
    from dev_postgres_mcp.model import Instance, InstanceSpec
    from dev_postgres_mcp.runtimes.base import Container, Image, Runtime

log = logging.getLogger(__name__)

_NEARLY = timedelta(hours=1)


class Claimer:
    """Claims spares on one runtime.  Thread-safe; keeps nothing."""

    def __init__(self, runtime: Runtime, handover: Handover, policy: Policy) -> None:
        """Claim on `runtime` within `policy`."""
        self._runtime = runtime
        self._handover = handover
        self._policy = policy

    def claim_any(
        self,
        spec: InstanceSpec,
        base: Image,
        containers: Sequence[Container],
        *,
        hard_end: datetime | None,
        deadline: Deadline,
    ) -> Instance | None:
        """Return an instance made from a spare; None when no spare fits or each was lost to somebody.

        `hard_end` is that of a container that would be started now.
        """
        if spec.init or spec.seed or spec.settings:
            return None
        for spare in containers:
            if (
                spare.role is Role.SPARE
                and spare.running
                and fits(spare, spec, base, contract=self._runtime.capabilities.contract)
                and lasts(spare, end_after(spec.ttl, hard_end))
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
            with self._handover.removing_on_failure(container, deadline):
                present = instances_of(self._runtime.list(deadline=deadline))
                self._policy.quota.keep_claimed(container.container_id, present)
                delivery = self._runtime.delivery(container, lease, record)
                if delivery is None:
                    self._runtime.write_state(container, lease, record=record, deadline=deadline)
                self._handover.settle(container, born, record, deadline, delivery=delivery)
                self._handover.complete(container, record, spec.extensions, deadline)
        except (Cancelled, DeadlineExceeded, LimitReached):
            raise
        except InitFailed:
            if spec.extensions:
                raise
            return None
        except DevPostgresError as exc:
            log.info("the spare %s was lost: %s", spare.id, exc.message)
            return None
        return self._handover.tell(container, record, lease)


def fits(spare: Container, spec: InstanceSpec, base: Image, *, contract: str) -> bool:
    """Tell whether a spare is what a cold start of `spec` would give, but for what SQL can adjust.

    One of another `contract` comes from an older or newer program, which writes beside it in its own way.
    """
    same = not contract or spare.contract == contract
    return same and spare.base_id == base.id and spare.limits == spec.limits


def lasts(spare: Container, end: datetime | None) -> bool:
    """Tell whether a spare may live until `end`, as a container that is started now could, or nearly so."""
    return spare.hard_end is None or (end is not None and end - spare.hard_end <= _NEARLY)
