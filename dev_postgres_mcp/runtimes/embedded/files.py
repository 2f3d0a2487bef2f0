"""What lies in an instance's directory, and how it is written: whole and at once for every reader.

    plan.json     what never changes: what it is, and what its supervisor is to do
    state.json    what may: record, password, lease; written under `state.lock`
    spare         "EXPIRES": the end of a spare, which its pool moves on; nothing once there is a lease
    as-ROLE       its role, as the file's name: a rename is how exactly one claimant wins
    supervisor    "PID START" of the process that looks after it, which holds `lock` as long as it lives
    server        "PID START" of its server
    sockets       where the server listened while scripts ran
    exit          "CODE TIME OOM_KILLS" of a server that ended by itself; the lease goes on, so that it can be read
    freeze-KEY    asks for a copy of the cluster; frozen-KEY answers, empty or with what went wrong
    whole         there once the cluster is made, and needs only to be started
    log           what the server and its supervisor had to say
    data/         the cluster, unless plan.json says that it lies elsewhere
    init/         scripts that are run once

Standard library only: the supervisor runs this without our dependencies.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

if os.name == "posix":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAN, STATE, STATE_LOCK, SPARE, ROLE = "plan.json", "state.json", "state.lock", "spare", "as-"
SUPERVISOR, SERVER, LOCK, SOCKETS, EXIT, LOG, INIT, WHOLE = (
    "supervisor",
    "server",
    "lock",
    "sockets",
    "exit",
    "log",
    "init",
    "whole",
)
FREEZE, FROZEN = "freeze-", "frozen-"
READY, ENDED, CONFLICT, DONE = "ready", "ended", "conflict", "done"
"""What a supervisor says on its standard output, once, a line each."""
KEEP = b"k"
"""What its owner says on its standard input, to let it live by its lease."""
MAX_LOG = 10 * 1024**2
_LOCK_TRIES = 100
_LOCK_PAUSE = 0.005


class Plan(NamedTuple):
    """What a supervisor is to do.  Times are seconds since 1970, 0 for none.

    `source` is the data directory to copy; without one a cluster is made, whose superuser is `username`.  `database`
    is the one that scripts run in, made when it is `new`.  `build`: leave it at that, and start no server for anybody.
    """

    programs: str
    major: int
    environment: dict[str, str]
    data: str
    source: str
    username: str
    database: str
    new: bool
    port: int
    settings: dict[str, str]
    cgroups: list[str]
    memory: int
    birth_end: float
    hard_end: float
    build: bool = False


def read_plan(directory: str) -> Plan:
    """Return what a directory's supervisor is to do; raises OSError, ValueError, KeyError, TypeError."""
    return Plan(**read_json(os.path.join(directory, PLAN))["plan"])


def find_plan(directory: str) -> Plan | None:
    """Return the same; None when there is none, or none that can be read."""
    try:
        return read_plan(directory)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_json(path: str) -> dict[str, Any]:
    """Return what lies in a file; raises OSError and ValueError."""
    found = json.loads(read_bytes(path))
    if not isinstance(found, dict):
        raise ValueError("not an object")  # noqa: TRY004 - a file's content, not an argument
    return found


def read_bytes(path: str) -> bytes:
    """Return all of a file; raises OSError."""
    with open(path, "rb") as file:
        return file.read()


def read_text(path: str) -> str:
    """Return all of a file; an empty text when it cannot be read."""
    try:
        return read_bytes(path).decode("utf-8", "replace")
    except OSError:
        return ""


def write_whole(path: str, content: bytes) -> None:
    """Write a file so that every reader finds the old content or the new, mode 0600; raises OSError."""
    aside = f"{path}.{os.getpid()}.new"
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside)
        raise


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold a lock among all processes of this machine; raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def hold_lock(path: str) -> int:
    """Hold a lock until this process ends, whatever ends it; 0 when somebody else does.  Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # It may be one of those who only ask.
            time.sleep(_LOCK_PAUSE)
        else:
            return descriptor
    os.close(descriptor)
    return 0


def is_held(path: str) -> bool:
    """Tell whether somebody holds a lock; those who ask do not get in each other's way."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_process(path: str) -> tuple[int, str] | None:
    """Return the id and the start of a process that was noted, None when there is none."""
    pid, _, start = read_text(path).strip().partition(" ")
    return (int(pid), start) if pid.isdigit() and start else None
