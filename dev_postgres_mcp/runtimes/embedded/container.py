"""How an instance is written as a directory, and read back from one."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dev_postgres_mcp.model import Endpoint, Limits
from dev_postgres_mcp.runtimes.base import Container, Kind, Role
from dev_postgres_mcp.runtimes.embedded import processes
from dev_postgres_mcp.runtimes.embedded.files import (
    EXIT,
    LOCK,
    PLAN,
    ROLE,
    SUPERVISOR,
    is_held,
    read_bytes,
    read_json,
    read_process,
)
from dev_postgres_mcp.runtimes.records import parse_exit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dev_postgres_mcp.runtimes.base import Launch
    from dev_postgres_mcp.runtimes.embedded.files import Plan

HOST = "127.0.0.1"
CONTRACT = "1"
"""Changes when a spare of an older program could not be claimed by a newer one."""


@dataclass(frozen=True, kw_only=True)
class Birth:
    """What is known of a container beyond its launch, before it is started."""

    container_id: str
    port: int
    created_at: datetime
    ready_by: datetime
    image_kind: Kind | None
    note: str


def role_file(role: Role) -> str:
    """Return the name of the file that gives a directory its role."""
    return f"{ROLE}{role.value or 'instance'}"


def render_plan(launch: Launch, birth: Birth, plan: Plan) -> bytes:
    """Return what never changes of an instance."""
    facts = {
        "id": launch.record.id,
        "container_id": birth.container_id,
        "contract": CONTRACT,
        "port": birth.port,
        "created_at": birth.created_at.isoformat(),
        "ready_by": birth.ready_by.isoformat(),
        "hard_end": launch.hard_end.isoformat() if launch.hard_end else "",
        "version": launch.image.version,
        "image": launch.image.ref,
        "image_id": launch.image.id,
        "base_id": launch.image.base_id,
        "image_kind": birth.image_kind.value if birth.image_kind else "",
        "memory": launch.limits.memory,
        "cpus": launch.limits.cpus,
        "settings": dict(launch.settings),
        "maker": launch.maker,
        "restored": launch.role is Role.RESTORING,
        "note": birth.note,
    }
    return json.dumps({"facts": facts, "plan": plan._asdict()}).encode()


def read_container(directory: Path) -> Container | None:
    """Return what lives in a directory, None when that is no whole container of ours; not whether it has ended."""
    try:
        role = _read_role(directory)
        facts = read_json(str(directory / PLAN))["facts"]
        return _read(facts, role, _read_state(directory)) if role is not None else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def read_end(directory: Path, container: Container) -> Container:
    """Return the same container with the evidence of a server that has ended."""
    with suppress(OSError):
        evidence = parse_exit(read_bytes(str(directory / EXIT)))
        if evidence is not None:
            state = "ended" if container.running else container.state
            return replace(container, state=state, evidence=evidence)
    return container


def _read_role(directory: Path) -> Role | None:
    names = os.listdir(directory)
    return next((role for role in Role if role_file(role) in names), None)


def _read_state(directory: Path) -> str:
    """Return in what state it is, in the words of a container engine."""
    supervisor = read_process(str(directory / SUPERVISOR))
    if supervisor is None:
        return "created"
    if not is_held(str(directory / LOCK)):
        return "dead"
    return "paused" if processes.stands_still(supervisor[0]) else "running"


def _read(facts: Mapping[str, Any], role: Role, state: str) -> Container:
    kind, end = facts["image_kind"], facts["hard_end"]
    return Container(
        id=str(facts["id"]),
        container_id=str(facts["container_id"]),
        endpoint=Endpoint(host=HOST, port=int(facts["port"])),
        state=state,
        created_at=_moment(facts["created_at"]),
        ready_by=_moment(facts["ready_by"]),
        hard_end=_moment(end) if end else None,
        role=role,
        version=str(facts["version"]),
        image=str(facts["image"]),
        image_id=str(facts["image_id"]),
        base_id=str(facts["base_id"]),
        limits=Limits(memory=int(facts["memory"]), cpus=float(facts["cpus"])),
        settings={str(name): str(value) for name, value in facts["settings"].items()},
        maker=str(facts["maker"]),
        restored=bool(facts["restored"]),
        image_kind=Kind(kind) if kind else None,
        contract=str(facts["contract"]),
        note=str(facts["note"]),
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
