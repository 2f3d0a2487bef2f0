"""What lies beside a server: written as files into its container, read back by one exec, kept on the client.

The files and who moves them are described in `shell/switch.sh`.  The superuser inside can write them, so that
nothing in them is believed unseen.
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
from dev_postgres_mcp.runtimes.docker.files import HOME, MAX_READ_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORD, LEASE, SPARE, EXIT, PASSWORD = "record", "lease", "spare", "exit", "password"
FROZEN = "frozen"
"""There while the server stands still."""
READY = "ready"
"""There once the superuser of a prepared cluster has its password."""
USERNAME = "username"
"""The superuser's name alone, for the switch, which reads no JSON."""
STATE_DIRECTORY = f"{HOME}/state"
_READ_SCRIPT = (
    f"cd {HOME} && for file in state/{RECORD} state/{LEASE} state/{EXIT} secret/{PASSWORD}; do "
    f'[ -f "$file" ] && [ -r "$file" ] && printf "%s\\n" "${{file#*/}}" && head -c {MAX_READ_BYTES} "$file"; done; true'
)
READ_COMMAND = ("/bin/sh", "-c", _READ_SCRIPT)
"""Prints the files one after the other, each after its name; all but the last are one line."""
_ENDLESS = 0
_MAX_DIGITS = 18
"""What the switch can count with."""


def state_files(record: Record, lease: Lease) -> dict[str, bytes]:
    """Return the files that lie beside an instance."""
    return {
        RECORD: render_record(record),
        USERNAME: record.username.encode(),
        PASSWORD: record.password.reveal().encode(),
        LEASE: render_lease(lease),
    }


def render_lines(files: Mapping[str, bytes]) -> tuple[Secret, ...] | None:
    """Return files as the lines that `shell/receive.sh` reads; None when a name or a password does not fit in one."""
    names = {USERNAME, PASSWORD}  # what stands in them is all theirs
    texts = {
        name: content.decode() if name in names else content.decode().removesuffix("\n")
        for name, content in files.items()
    }
    # What is not printable may break a line, or be a character that the parts are told by.
    if not all(text.isprintable() for text in texts.values()):
        return None
    return tuple(Secret(f"{name} {text}") for name, text in texts.items())


def render_record(record: Record) -> bytes:
    """Return the record's file: one line, and no secret."""
    return json.dumps(_fields(record)).encode() + b"\n"


def render_lease(lease: Lease) -> bytes:
    """Return the lease's file: seconds since 1970 and seconds without a client, 0 for none, rounded up."""
    expires = ceil(lease.expires_at.timestamp()) if lease.expires_at else _ENDLESS
    return f"{expires} {ceil(lease.idle_timeout or _ENDLESS)}\n".encode()


def render_spare(until: datetime) -> bytes:
    """Return the file that keeps a spare alive."""
    return f"{ceil(until.timestamp())}\n".encode()


def render_freeze(key: str, seconds: int) -> dict[str, bytes]:
    """Return the file that asks the server to stand still for so long; 0 takes that back."""
    return {f"freeze-{key}": f"{seconds}\n".encode()}


def parse_state(output: bytes, instance_id: str) -> State | None:
    """Return what READ_COMMAND has printed; None when it is no whole state of that instance."""
    files = _split(output)
    password = files.get(PASSWORD, b"").decode("utf-8", "replace")
    record = _parse_record(files.get(RECORD, b""), password)
    if record is None or record.id != instance_id:
        return None
    return State(
        record=record, lease=parse_lease(files.get(LEASE, b"")), ended=_parse_exit(files.get(EXIT, b""))
    )


def parse_lease(content: bytes) -> Lease:
    """Return the lease in a file's content; no end where there is no number."""
    match content.split():
        case [expires, idle] if _is_count(expires) and _is_count(idle):
            return Lease(expires_at=_moment(int(expires)), idle_timeout=float(idle) or None)
    return Lease()


def _split(output: bytes) -> dict[str, bytes]:
    files = {}
    rest = output
    while rest:
        name, _, rest = rest.partition(b"\n")
        key = name.decode("ascii", "replace")
        if key == PASSWORD:
            files[key], rest = rest, b""
        else:
            files[key], _, rest = rest.partition(b"\n")
    return files


def _parse_record(content: bytes, password: str) -> Record | None:
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


def _parse_exit(content: bytes) -> Evidence | None:
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
        parsed = _parse_record(json.dumps(record).encode(), password)
        lease, ended = str(fields["lease"]).encode(), str(fields["exit"]).encode()
    except (KeyError, TypeError, ValueError):
        return None
    return State(record=parsed, lease=parse_lease(lease), ended=_parse_exit(ended)) if parsed else None


def _stamp(ended: Evidence) -> int:
    return int(ended.finished_at.timestamp()) if ended.finished_at else 0
