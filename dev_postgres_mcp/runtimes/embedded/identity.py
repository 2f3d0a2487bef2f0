"""As whom a server runs, and within what bounds.  PostgreSQL refuses to run as root.

As an ordinary user it runs as that one.  As root it runs in a user namespace of its own, where root is called
something else and nothing has to change its owner; where the system allows none, it steps down to the user of
PostgreSQL's own package, or to nobody.  Standard library only: the supervisor runs this without our dependencies.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from typing import NamedTuple

if os.name == "posix":
    import pwd
    import resource

OWN, NAMESPACE, STEP_DOWN = "own", "namespace", "step down"
_INSIDE = 1000
"""What root is called in its namespace: any number but 0 will do."""
_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_USERS = ("postgres", "nobody")
_NOBODY = 65534


class Identity(NamedTuple):
    """How a server can run here, and to whom its files belong."""

    way: str
    uid: int
    gid: int


def choose_identity() -> Identity:
    """Return how a server can run here."""
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        return Identity(OWN, uid, gid)
    if _can_map():
        return Identity(NAMESPACE, uid, gid)
    for name in _USERS:
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return Identity(STEP_DOWN, found.pw_uid, found.pw_gid)
    return Identity(STEP_DOWN, _NOBODY, _NOBODY)


def become(identity: Identity, cgroups: list[str], memory: int, parent: int) -> None:
    """Make this process, which is about to become a server's, the one that is meant; raises OSError.

    It belongs to `cgroups`; without one of them each of its processes gets `memory` bytes of its own at most.

    It dies with its parent: the signal comes when the thread ends that has started it, and a supervisor has only one.
    """
    for cgroup in cgroups:
        with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as procs:
            procs.write("0")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not cgroups and memory:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    os.umask(0o077)
    if identity.way == NAMESPACE:
        _enter_namespace()
    elif identity.way == STEP_DOWN:
        os.setgroups([])
        os.setgid(identity.gid)
        os.setuid(identity.uid)
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def _enter_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    libc = _libc()
    if libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "no user namespace")
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{_INSIDE} {uid} 1"),
        ("gid_map", f"{_INSIDE} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _can_map() -> bool:
    """Tell whether a child of ours can enter a user namespace; a process that has done so cannot go back.

    A supervisor has one thread, so that it may fork.
    """
    if sys.platform != "linux":
        return False
    child = os.fork()
    if child == 0:
        try:
            _enter_namespace()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
