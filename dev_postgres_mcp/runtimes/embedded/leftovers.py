"""Putting away: what an instance, dead or alive, has on this machine besides its files goes with it.

Standard library only: the supervisor runs this without our dependencies.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from dev_postgres_mcp.runtimes.embedded import cgroups, copying, processes
from dev_postgres_mcp.runtimes.embedded.files import SERVER, SOCKETS, find_plan, read_process, read_text
from dev_postgres_mcp.runtimes.embedded.scripts import remove_sockets

if TYPE_CHECKING:
    from dev_postgres_mcp.runtimes.embedded.files import Plan

_IPC_RMID = 0
_SHMEM_LINE = 7
_SEGMENTS = "/proc/sysvipc/shm"
"""Linux only: elsewhere a segment of some bytes waits for the next start of the machine."""
_ATTACHED = 6
_GONE = ".gone"
UNFINISHED = ".new-"
"""Before the name of a directory that is being laid out."""
_ABANDONED_SECONDS = 120.0
"""After which whoever was laying out or removing a directory is taken for dead; both take less than a second."""


def put_away(directory: str, plan: Plan | None) -> None:
    """Remove an instance of which nobody looks after any more; its supervisor does that as the last thing.

    Without a plan it has never had anything but its directory.
    """
    if plan is not None:
        end_server(directory, plan)
        cgroups.remove_cgroups(plan.cgroups)
        copying.remove_tree(plan.data)
    if sockets := read_text(f"{directory}/{SOCKETS}"):
        with suppress(OSError):
            remove_sockets(sockets)
    # At once for all who list; then file by file.
    gone = f"{directory}{_GONE}"
    with suppress(FileNotFoundError):
        os.rename(directory, gone)
    copying.remove_tree(gone)


def put_abandoned_away(instances: str) -> None:
    """Go on with what somebody was laying out or removing when he died: nobody sees it any more."""
    for entry in os.scandir(instances):
        name = entry.name.removeprefix(UNFINISHED).removesuffix(_GONE)
        if name == entry.name:
            continue
        with suppress(FileNotFoundError):
            if time.time() - entry.stat().st_mtime > _ABANDONED_SECONDS:
                cgroups.remove_cgroups(cgroups.find_cgroups(cgroups.cgroup_name(name)))
                put_away(entry.path, find_plan(entry.path))


def end_server(directory: str, plan: Plan) -> None:
    """Kill what is left of a server, and give its shared memory back."""
    process = read_process(f"{directory}/{SERVER}")
    if process is not None and processes.is_alive(*process):
        for pid in processes.tree(process[0]):
            processes.send(pid, processes.started_at(pid), signal.SIGKILL)
    processes.kill_all(plan.data)
    _remove_shared_memory(plan.data)


def _remove_shared_memory(data: str) -> None:
    """Remove the segment by which a server keeps a second one off: a killed server leaves it (manual, 18.4.1).

    The seventh line of the pid file has its key and id.  It must be the same one still, and nobody's.
    """
    lines = read_text(f"{data}/postmaster.pid").splitlines()
    named = lines[_SHMEM_LINE - 1].split() if len(lines) >= _SHMEM_LINE else []
    for segment in read_text(_SEGMENTS).splitlines()[1:]:
        fields = segment.split()
        if fields[:2] == named and fields[_ATTACHED] == "0":
            ctypes.CDLL(None).shmctl(int(fields[1]), _IPC_RMID, None)
