"""Copies of data directories: shared with the original where the file system can, else byte for byte.

Standard library only: the supervisor runs this without our dependencies.
"""

from __future__ import annotations

import errno
import os
import stat

if os.name == "posix":
    import fcntl

_FICLONE = 0x40049409
"""ioctl_ficlone(2): the copy shares the original's blocks until one of them is written to."""
_CANNOT_CLONE = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM}
_CANNOT_COPY_INSIDE = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
_CHUNK = 1 << 20
_NOT_COPIED = ("postmaster.pid", "postmaster.opts")
"""Of the server that ran there; one that finds them takes itself for running."""
_EMPTIED = (
    "pgsql_tmp",
    "pg_stat_tmp",
    "pg_dynshmem",
    "pg_notify",
    "pg_replslot",
    "pg_subtrans",
    "pg_snapshots",
    "pg_serial",
)
"""What a base backup leaves out, too (PostgreSQL manual, 25.3.4): made anew by the next start."""


class TablespaceFound(Exception):
    """A part of the cluster lies elsewhere, where a copy would share it."""


def copy_cluster(source: str, target: str) -> None:
    """Copy a data directory whose server does not write; `target` must not be there yet.

    Raises OSError, and TablespaceFound.
    """
    copier = _Copier()
    copier.copy_directory(source, target, top=True)


def remove_tree(path: str) -> None:
    """Remove a directory with all in it; what is gone already is no error."""
    try:
        entries = list(os.scandir(path))
    except FileNotFoundError:
        return
    except NotADirectoryError:
        os.unlink(path)
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            remove_tree(entry.path)
        else:
            try:
                os.unlink(entry.path)
            except FileNotFoundError:
                continue
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return


def size_of(path: str) -> int:
    """Return the bytes that the files of a directory take on the disk."""
    size = 0
    for directory, _, names in os.walk(path):
        for name in names:
            try:
                size += os.lstat(os.path.join(directory, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return size


def can_clone(directory: str) -> bool:
    """Tell whether copies in a directory can share blocks with the original."""
    one, two = (os.path.join(directory, f".clone-{os.getpid()}-{number}") for number in range(2))
    try:
        with open(one, "wb") as file:
            file.write(b"\0" * 4096)
        return _Copier().copy_file(one, two, 0o600)
    except OSError:
        return False
    finally:
        for path in (one, two):
            if os.path.exists(path):
                os.unlink(path)


class _Copier:
    """Remembers what the file system cannot do, so that it is asked once."""

    def __init__(self) -> None:
        self._clones = True
        self._copies_inside = hasattr(os, "copy_file_range")

    def copy_directory(self, source: str, target: str, *, top: bool = False) -> None:
        os.mkdir(target, 0o700)
        with os.scandir(source) as entries:
            for entry in entries:
                path = f"{target}/{entry.name}"
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode) and entry.name in _EMPTIED:
                    os.mkdir(path, 0o700)
                elif stat.S_ISDIR(mode):
                    self.copy_directory(entry.path, path)
                elif stat.S_ISLNK(mode):
                    raise TablespaceFound(entry.path)
                elif stat.S_ISREG(mode) and not (top and entry.name in _NOT_COPIED):
                    self.copy_file(entry.path, path, 0o600)

    def copy_file(self, source: str, target: str, mode: int) -> bool:
        """Copy one file; True when it shares its blocks with the original."""
        reading = os.open(source, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            writing = os.open(
                target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), mode
            )
            try:
                size = os.fstat(reading).st_size
                if size and self._clone(reading, writing):
                    return True
                self._copy(reading, writing, size)
            finally:
                os.close(writing)
        finally:
            os.close(reading)
        return False

    def _clone(self, reading: int, writing: int) -> bool:
        if not self._clones:
            return False
        try:
            fcntl.ioctl(writing, _FICLONE, reading)
        except OSError as exc:
            if exc.errno not in _CANNOT_CLONE:
                raise
            self._clones = False
            return False
        return True

    def _copy(self, reading: int, writing: int, size: int) -> None:
        left = size
        while left > 0 and self._copies_inside:
            try:
                done = os.copy_file_range(reading, writing, min(left, _CHUNK * 64))
            except OSError as exc:
                if exc.errno not in _CANNOT_COPY_INSIDE or left != size:
                    raise
                self._copies_inside = False
                break
            if done == 0:
                break
            left -= done
        while chunk := os.read(reading, _CHUNK):
            view = memoryview(chunk)
            while view:
                view = view[os.write(writing, view) :]
