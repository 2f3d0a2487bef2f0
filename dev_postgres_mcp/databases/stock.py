"""Templates in stock: snapshots of servers with a template, from which the servers of later runs are branched."""

from __future__ import annotations

import logging
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import (
    DevPostgresError,
    EngineFailed,
    InstanceNotFound,
    ServerNotReady,
    SnapshotInUse,
    SnapshotNotFound,
)
from dev_postgres_mcp.model import BranchSpec
from dev_postgres_mcp.parsing import new_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dev_postgres_mcp.instances.snapshots import Snapshots
    from dev_postgres_mcp.model import Instance, InstanceSpec, Progress, Snapshot

log = logging.getLogger(__name__)

SNAPSHOT_PREFIX = "pytest-"
MOST_SNAPSHOTS = 5
"""Of one project: whoever works on a schema makes a new one with each change, some 25 MB that live for a week."""

_PARTS = 3


class Stock:
    """Keep and branch servers with a template.  A stock that fails costs time, never a run."""

    def __init__(self, snapshots: Snapshots) -> None:
        """Keep them as these snapshots."""
        self._snapshots = snapshots

    def branch(
        self, digest: str, spec: InstanceSpec, *, progress: Callable[[Progress], None]
    ) -> Instance | None:
        """Return a server with the template of that digest in it, None when there is none in stock."""
        kept = [one for one in self._list() if _digest_of(one) == digest]
        if not kept:
            return None
        branch = BranchSpec(
            password=spec.password,
            ttl=spec.ttl,
            idle_timeout=spec.idle_timeout,
            memory=spec.limits.memory,
            cpus=spec.limits.cpus,
            name=spec.name,
            owner=spec.owner,
            labels=spec.labels,
        )
        try:
            return self._snapshots.branch(kept[-1].id, branch, progress=progress)
        except (EngineFailed, InstanceNotFound, ServerNotReady, SnapshotNotFound) as exc:
            log.info("no branch of %s, the template is built anew: %s", kept[-1].name, exc.message)
            return None

    def keep(self, instance_id: str, digest: str, *, project: Path, ttl: float | None) -> None:
        """Put a server with that template into stock, and clear what the project has too much."""
        ours = f"{SNAPSHOT_PREFIX}{sha256(str(project).encode()).hexdigest()[:8]}-"
        try:
            taken = self._snapshots.take(instance_id, f"{ours}{digest}-{new_id()}", ttl=ttl)
        except DevPostgresError as exc:
            log.warning("other runs will build the template again: %s", exc.message)
            return
        others = [one for one in self._list() if one.name.startswith(ours) and one.id != taken.id]
        for index, one in enumerate(reversed(others), start=1):
            if index >= MOST_SNAPSHOTS or _digest_of(one) == digest:
                with suppress(SnapshotInUse, SnapshotNotFound):
                    self._snapshots.delete(one.id)

    def _list(self) -> list[Snapshot]:
        return [one for one in self._snapshots.list() if one.name.startswith(SNAPSHOT_PREFIX)]


def _digest_of(snapshot: Snapshot) -> str:
    """Return the template that is in a snapshot: names are `pytest-PROJECT-DIGEST-ID`, projects share templates."""
    parts = snapshot.name.removeprefix(SNAPSHOT_PREFIX).split("-")
    return parts[1] if len(parts) == _PARTS else ""
