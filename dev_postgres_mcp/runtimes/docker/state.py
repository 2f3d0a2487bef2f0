"""What lies beside a server: written as files into its container, read back by one exec, kept on the client.

The files and who moves them are described in `shell/switch.sh`.  The superuser inside can write them, so that
nothing in them is believed unseen.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from dev_postgres_mcp.model import Secret
from dev_postgres_mcp.runtimes.base import State
from dev_postgres_mcp.runtimes.docker.files import HOME, MAX_READ_BYTES
from dev_postgres_mcp.runtimes.records import (
    parse_exit,
    parse_lease,
    parse_record,
    render_lease,
    render_record,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from dev_postgres_mcp.model import Lease
    from dev_postgres_mcp.runtimes.base import Record

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
    record = parse_record(files.get(RECORD, b""), password)
    if record is None or record.id != instance_id:
        return None
    return State(
        record=record, lease=parse_lease(files.get(LEASE, b"")), ended=parse_exit(files.get(EXIT, b""))
    )


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
