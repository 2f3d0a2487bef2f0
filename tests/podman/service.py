"""Podman's Docker API, served from namespaces of its own, so that nothing of it can stay behind.

Its network (bridge, addresses, firewall rules), its mounts and its processes live in namespaces that end with
the service; only the sockets' files are seen from outside.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOTFUL_SOCKET = "/run/podman/podman.sock"
"""Where a system's own podman listens; in the service's namespace it leads to ours."""
_CGROUPS = Path("/sys/fs/cgroup")
_STARTUP = 20.0
_UNTIL_WE_DIE = ("setpriv", "--pdeathsig", "KILL")
_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_SCRIPT = f"""\
set -e
ip link set lo up
mount -t tmpfs none /run
mount -t tmpfs none /var/lib
mkdir /run/podman
ln -s "$FOLDER/podman.sock" {ROOTFUL_SOCKET}
exec podman --root "$FOLDER/root" --runroot "$FOLDER/run" --tmpdir "$FOLDER/tmp" \\
    --network-config-dir "$FOLDER/networks" system service --time 0 "unix://$FOLDER/podman.sock"
"""


@dataclass(frozen=True)
class Podman:
    """A running service."""

    socket: Path
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"unix://{self.socket}"

    def enter(self, *, files: bool) -> tuple[str, ...]:
        """Return how to start a command in its network, and with `files` also below its /run."""
        ours = f"/proc/{self.first_process()}/ns"
        mounts = (f"--mount={ours}/mnt", f"--wd={Path.cwd()}") if files else ()
        return ("nsenter", f"--net={ours}/net", *mounts)

    def first_process(self) -> int:
        """Return the process with which the namespaces end."""
        unshare = self.process.pid
        return int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()[0])


@contextmanager
def serve() -> Iterator[Podman]:
    """Run podman's service; its folder is short-lived and has a short name, as sockets need it."""
    if shutil.which("podman") is None:
        pytest.fail("this test needs Debian's package podman: `tools/test-services` installs it")
    before = set(_cgroups())
    with tempfile.TemporaryDirectory(prefix="podman-") as folder:
        process = _start(Path(folder))
        podman = Podman(Path(folder) / "podman.sock", process)
        try:
            _wait_until_up(podman, Path(folder) / "log")
            yield podman
        finally:
            with suppress(IndexError, ProcessLookupError):
                os.kill(podman.first_process(), signal.SIGKILL)
            process.wait(_STARTUP)  # until the kernel has ended everything in the namespaces
            for cgroup in _cgroups():
                if cgroup not in before:
                    with suppress(OSError):
                        cgroup.rmdir()


def _start(folder: Path) -> subprocess.Popen[bytes]:
    configuration = folder / "containers.conf"
    configuration.write_text(f"[containers]\ndefault_ulimits = [{_own_limits()}]\n")
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [*_UNTIL_WE_DIE, *_UNSHARE, "sh", "-c", _SCRIPT],
            env={**os.environ, "FOLDER": str(folder), "CONTAINERS_CONF": str(configuration)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _own_limits() -> str:
    """Return our own limits, for small machines that cannot give podman's default of a million open files."""
    named = (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC))
    hard = ((name, resource.getrlimit(limit)[1]) for name, limit in named)
    return ", ".join(f'"{name}={most}:{most}"' for name, most in hard if most != resource.RLIM_INFINITY)


def _cgroups() -> list[Path]:
    """Return podman's control groups, inner ones first; the kernel keeps them when a service is killed."""
    parents = (*_CGROUPS.glob("libpod_parent"), *_CGROUPS.glob("*/libpod_parent"))
    return [folder for parent in parents for folder in (*sorted(parent.rglob("*/"), reverse=True), parent)]


def _wait_until_up(podman: Podman, log: Path) -> None:
    end = time.monotonic() + _STARTUP
    while not podman.socket.exists():
        if podman.process.poll() is not None or time.monotonic() > end:
            pytest.fail(f"podman's service does not start: {log.read_text()}")
        time.sleep(0.02)
