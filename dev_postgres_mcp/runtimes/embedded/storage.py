"""Where things lie on this machine: instances, images and locks in one directory, clusters in memory where there is room."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108 - the one tmpfs that Linux promises; what we make there is ours alone
_CLEAR_ROOM = 2 * 1024**3
"""Bytes that a tmpfs, and the machine besides it, must have free: a cluster there takes memory from everybody."""
_MODE = 0o711
"""Others may pass, since a server that root has started may run as somebody else; each instance is closed to them."""


class Storage(StrEnum):
    """Where clusters lie."""

    AUTO = "auto"
    DISK = "disk"
    MEMORY = "memory"


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The directory that stands for the engine: whoever works on the same one sees the same instances."""

    root: Path
    storage: Storage = Storage.AUTO

    @property
    def instances(self) -> Path:
        """One directory for each instance."""
        return self.root / "instances"

    @property
    def images(self) -> Path:
        """One directory for each image."""
        return self.root / "images"

    @property
    def locks(self) -> Path:
        """Turns among processes."""
        return self.root / "locks"

    def prepare(self) -> None:
        """Make the directories; raises OSError."""
        for directory in (self.root, self.instances, self.images, self.locks):
            directory.mkdir(mode=_MODE, parents=True, exist_ok=True)

    def place_cluster(self, directory: Path, *, bounded: bool) -> Path:
        """Return where the cluster of an instance is to lie: in memory when there is clear room, else beside it.

        Never by itself where the server's memory is `bounded` by a control group, which counts such files, too: it
        would be killed for a few hundred megabytes of data.
        """
        wanted = self.storage is Storage.MEMORY or (not bounded and has_room(MEMORY))
        if self.storage is Storage.DISK or not wanted:
            return directory / "data"
        home = MEMORY / f"dev-postgres-mcp-{os.geteuid()}"
        return home / directory.name if _is_ours(home) else directory / "data"


def _is_ours(home: Path) -> bool:
    """Make a directory for what we keep in memory; False when it cannot be, or when somebody else has made it."""
    try:
        home.mkdir(mode=_MODE, exist_ok=True)
        return not home.is_symlink() and home.stat().st_uid == os.geteuid()
    except OSError:
        return False


def has_room(tmpfs: Path) -> bool:
    """Tell whether there is clear room in memory."""
    try:
        found = os.statvfs(tmpfs)
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    available = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), 0)
    return min(found.f_bavail * found.f_frsize, available) >= _CLEAR_ROOM
