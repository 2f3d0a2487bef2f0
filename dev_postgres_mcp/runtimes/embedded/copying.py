"""Copies of data directories: shared with the original where the file system can, else byte for byte.

Standard library only: the supervisor runs this without our dependencies.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from typing import NamedTuple

if os.name == "posix":
    import fcntl

_FICLONE = 0x40049409
"""ioctl_ficlone(2): the copy shares the original's blocks until one of them is written to."""
_CANNOT_CLONE = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM}
_CANNOT_COPY_INSIDE = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
_CHUNK = 1 << 20
_REMOVE_TRIES = 5
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


_MAPS = ("_fsm", "_vm")
"""Forks with free space and visibility (manual, 73.3 and 73.4): what has none is given one when it is first needed."""


class TablespaceFound(Exception):
    """A part of the cluster lies elsewhere, where a copy would share it."""


def copy_cluster(source: str, target: str) -> None:
    """Copy a data directory whose server does not write; `target` must not be there yet.

    Two threads share the thousand small files: most of the time is the kernel's, which it spends on both.
    Raises OSError, and TablespaceFound.
    """
    files = _lay_out(source, target)
    failed: list[OSError] = []

    def copy_half() -> None:
        try:
            _copy_files(files[1::2])
        except OSError as exc:
            failed.append(exc)

    other = threading.Thread(target=copy_half)
    other.start()
    try:
        _copy_files(files[::2])
    finally:
        other.join()
    if failed:
        raise failed[0]


def trim_cluster(path: str) -> None:
    """Remove what nobody misses from a new cluster: a quarter of its files, all small, of which every copy had its own.

    No server may run there.  Raises OSError.
    """
    for directory, _, names in os.walk(path):
        for name in names:
            if name.endswith(_MAPS) and name[:1].isdigit():
                os.unlink(f"{directory}/{name}")


def remove_tree(path: str) -> None:
    """Remove a directory with all in it, also what is put into it meanwhile; what is gone already is no error."""
    for tries_left in reversed(range(_REMOVE_TRIES)):
        try:
            _remove(path)
        except FileNotFoundError:
            return
        except OSError as exc:
            if exc.errno != errno.ENOTEMPTY or not tries_left:
                raise
        else:
            return


def _remove(path: str) -> None:
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                remove_tree(entry.path)
            else:
                with suppress(FileNotFoundError):
                    os.unlink(entry.path)
    os.rmdir(path)


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
        return _Copier().copy_file(_File(one, two, 4096))
    except OSError:
        return False
    finally:
        for path in (one, two):
            if os.path.exists(path):
                os.unlink(path)


class _File(NamedTuple):
    """One file to copy."""

    source: str
    target: str
    size: int


def _lay_out(source: str, target: str) -> list[_File]:
    """Make the directories and return the files."""
    files, directories = [], [(source, target)]
    for there, here in directories:
        os.mkdir(here, 0o700)
        with os.scandir(there) as entries:
            for entry in entries:
                path = f"{here}/{entry.name}"
                if entry.is_symlink():
                    raise TablespaceFound(entry.path)
                if entry.is_dir() and entry.name in _EMPTIED:
                    os.mkdir(path, 0o700)
                elif entry.is_dir():
                    directories.append((entry.path, path))
                elif entry.is_file() and not (there == source and entry.name in _NOT_COPIED):
                    files.append(_File(entry.path, path, entry.stat().st_size))
    return files


def _copy_files(files: list[_File]) -> None:
    copier = _Copier()
    for file in files:
        copier.copy_file(file)


class _Copier:
    """Remembers what the file system cannot do, so that it is asked once."""

    def __init__(self) -> None:
        self._clones = True
        self._copies_inside = hasattr(os, "copy_file_range")

    def copy_file(self, file: _File) -> bool:
        """Copy one file; True when it shares its blocks with the original."""
        writing = os.open(file.target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if not file.size:
                return False
            reading = os.open(file.source, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if self._clone(reading, writing):
                    return True
                self._copy(reading, writing, file.size)
            finally:
                os.close(reading)
        finally:
            os.close(writing)
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
                done = os.copy_file_range(reading, writing, left)
            except OSError as exc:
                if exc.errno not in _CANNOT_COPY_INSIDE or left != size:
                    raise
                self._copies_inside = False
                break
            if done == 0:
                # The end of the file, or a file system that does not do it and does not say so.
                break
            left -= done
        while left > 0 and (chunk := os.read(reading, min(left, _CHUNK))):
            view = memoryview(chunk)
            while view:
                view = view[os.write(writing, view) :]
            left -= len(chunk)
