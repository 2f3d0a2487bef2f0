"""From a spec to what a runtime is to start: its record, its names and how long it may live."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dev_postgres_mcp.model import Lease
from dev_postgres_mcp.parsing import new_id
from dev_postgres_mcp.runtimes.base import NAME_PREFIX, Bootstrap, Launch, Record

if TYPE_CHECKING:
    from dev_postgres_mcp.model import InstanceSpec
    from dev_postgres_mcp.runtimes.base import Image

_BOOTSTRAP_NAME = "dev_postgres_mcp_bootstrap"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ .@-]*")
_PREPARED = Bootstrap(database="postgres", username="postgres")


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
