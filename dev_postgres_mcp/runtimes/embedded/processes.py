"""Processes as the system shows them: who is whose child, since when, and where it works.

Standard library only: the supervisor runs this without our dependencies.  A process is named by its id *and* the time
of its start, so that an id that was given away again is never taken for it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

LINUX = sys.platform == "linux"
_PROC = "/proc"
_POLL_SECONDS = 0.005
_STOPPED = ("T", "t")


def started_at(pid: int) -> str:
    """Return when a process has started, in the system's own words; nothing when it is gone."""
    if not LINUX:
        return _ask_ps("lstart", pid)
    fields = _stat(pid)
    # The 22nd of proc_pid_stat(5), counted from the state, which is the third.
    return fields[19] if fields and fields[0] != "Z" else ""


def stands_still(pid: int) -> bool:
    """Tell whether a process was stopped by a signal."""
    state = _ask_ps("state", pid)[:1] if not LINUX else (_stat(pid) or [""])[0]
    return state in _STOPPED


def is_alive(pid: int, start: str) -> bool:
    """Tell whether the process that started then runs."""
    return bool(start) and started_at(pid) == start


def send(pid: int, start: str, number: signal.Signals) -> bool:
    """Send a signal to the process that started then; False when it is gone."""
    try:
        if not LINUX:
            if is_alive(pid, start):
                os.kill(pid, number)
                return True
            return False
        # A handle first: what is looked at through it cannot become another process meanwhile.
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not is_alive(pid, start):
            return False
        signal.pidfd_send_signal(handle, number)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def tree(root: int) -> list[int]:
    """Return a process and all that descend from it, parents first."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def working_in(directory: str) -> list[int]:
    """Return the processes whose working directory it is: all of a PostgreSQL server's have its data directory.

    Where the system does not show that, nobody is found.
    """
    if not LINUX:
        return []
    found = []
    for pid, _ in _parents():
        try:
            there = os.readlink(f"{_PROC}/{pid}/cwd")
        except OSError:
            continue
        if there in (directory, f"{directory} (deleted)"):
            found.append(pid)
    return found


def kill_all(directory: str, *, seconds: float = 5.0) -> bool:
    """Kill whoever works in a directory, standing still or not; False when somebody is left."""
    end = time.monotonic() + seconds
    while pids := working_in(directory):
        for pid in pids:
            send(pid, started_at(pid), signal.SIGKILL)
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def memory_of(pids: list[int]) -> int:
    """Return the bytes that these processes hold together, what they share counted once."""
    return sum(_memory(pid) for pid in pids)


def _memory(pid: int) -> int:
    if not LINUX:
        return int(_ask_ps("rss", pid) or 0) * 1024
    try:
        with open(f"{_PROC}/{pid}/smaps_rollup", encoding="ascii") as rollup:
            for line in rollup:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0


def _parents() -> list[tuple[int, int]]:
    """Return the id and the parent's id of each process."""
    if not LINUX:
        return _parents_by_ps()
    numbers = (int(name) for name in os.listdir(_PROC) if name.isdigit())
    return [(pid, int(fields[1])) for pid in numbers if (fields := _stat(pid))]


def _stat(pid: int) -> list[str]:
    """Return the fields of proc_pid_stat(5) from the state on; a name may hold anything, also parentheses."""
    try:
        with open(f"{_PROC}/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()
    except OSError:
        return []


def _ask_ps(field: str, pid: int) -> str:
    asked = subprocess.run(
        ["ps", "-o", f"{field}=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip()


def _parents_by_ps() -> list[tuple[int, int]]:
    asked = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=False)
    rows = (line.split() for line in asked.stdout.splitlines())
    return [(int(row[0]), int(row[1])) for row in rows if len(row) == 2]  # noqa: PLR2004 - the two columns
