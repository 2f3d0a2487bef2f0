"""What lies beside a server as text: record, lease and how it ended, the same on every runtime that keeps files.

A superuser can write where some of it lies, so that nothing in it is believed unseen.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from math import ceil
from typing import TYPE_CHECKING, Any

from dev_postgres_mcp.errors import InvalidInput
from dev_postgres_mcp.model import Evidence, Lease, Owner, Secret
from dev_postgres_mcp.parsing import check_display_name, check_name, check_password
from dev_postgres_mcp.runtimes.base import Record, State

if TYPE_CHECKING:
    from collections.abc import Mapping

_ENDLESS = 0
_MAX_DIGITS = 18
"""What a shell can count with."""


def render_record(record: Record) -> bytes:
    """Return the record's file: one line, and no secret."""
    return json.dumps(_fields(record)).encode() + b"\n"


def render_lease(lease: Lease) -> bytes:
    """Return the lease's file: seconds since 1970 and seconds without a client, 0 for none, rounded up."""
    expires = ceil(lease.expires_at.timestamp()) if lease.expires_at else _ENDLESS
    return f"{expires} {ceil(lease.idle_timeout or _ENDLESS)}\n".encode()


def parse_lease(content: bytes) -> Lease:
    """Return the lease in a file's content; no end where there is no number."""
    match content.split():
        case [expires, idle] if _is_count(expires) and _is_count(idle):
            return Lease(expires_at=_moment(int(expires)), idle_timeout=float(idle) or None)
    return Lease()


def parse_record(content: bytes, password: str) -> Record | None:
    """Return the record in a file's content, None when it is no whole one or holds what we would refuse."""
    try:
        fields: Any = json.loads(content)
        owner, labels = fields["owner"], fields["labels"]
        return Record(
            id=str(fields["id"]),
            name=check_display_name(_text(fields["name"])),
            database=check_name(_text(fields["database"]), what="database"),
            username=check_name(_text(fields["username"]), what="user"),
            password=Secret(check_password(password)),
            created_at=datetime.fromisoformat(_text(fields["created_at"])).astimezone(UTC),
            owner=Owner(**{key: _text(value) for key, value in owner.items()}),
            labels={_text(key): _text(value) for key, value in labels.items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, InvalidInput):
        return None


def _fields(record: Record) -> dict[str, Any]:
    """Return what of a record may lie in the container's layer: all but the password."""
    fields = asdict(record)
    del fields["password"]
    return fields | {"created_at": record.created_at.isoformat()}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def parse_exit(content: bytes) -> Evidence | None:
    """Return how a server ended from "CODE TIME OOM_KILLS", None for anything else."""
    match content.split():
        case [code, moment, kills] if _is_count(code) and _is_count(moment) and _is_count(kills):
            return Evidence(
                exit_code=int(code),
                oom_killed=int(kills) > 0 and int(code) != 0,
                finished_at=_moment(int(moment)),
            )
    return None


def _is_count(text: bytes) -> bool:
    return text.isdigit() and len(text) <= _MAX_DIGITS


def _moment(seconds: int) -> datetime | None:
    """Return a moment from seconds since 1970; None for 0 and for what no calendar holds."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (OverflowError, ValueError, OSError):
        return None


def state_to_json(state: State) -> Mapping[str, Any]:
    """Return a state, its password in the open, for the client's own cache."""
    lease, ended = state.lease, state.ended
    return {
        "record": _fields(state.record) | {"password": state.record.password.reveal()},
        "lease": render_lease(lease).decode(),
        "exit": f"{ended.exit_code} {_stamp(ended)} {int(ended.oom_killed)}" if ended else "",
    }


def state_from_json(fields: Mapping[str, Any]) -> State | None:
    """Return the state that `state_to_json` has rendered, None when it is not whole."""
    try:
        record = dict(fields["record"])
        password = str(record.pop("password"))
        parsed = parse_record(json.dumps(record).encode(), password)
        lease, ended = str(fields["lease"]).encode(), str(fields["exit"]).encode()
    except (KeyError, TypeError, ValueError):
        return None
    return State(record=parsed, lease=parse_lease(lease), ended=parse_exit(ended)) if parsed else None


def _stamp(ended: Evidence) -> int:
    return int(ended.finished_at.timestamp()) if ended.finished_at else 0
