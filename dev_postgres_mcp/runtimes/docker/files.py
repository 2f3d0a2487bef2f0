"""What goes into a container before it starts, as a tar stream for the engine's archive API.

Files go in through the API, never as bind mounts, so that a remote engine gets them too; secrets go in as
files of the server's own user, so that neither the environment nor `docker inspect` shows them.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
import tempfile
import time
from typing import IO, TYPE_CHECKING

from dev_postgres_mcp.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dev_postgres_mcp.runtimes.base import Launch

HOME = "/var/lib/dev-postgres-mcp"
"""Ours, outside every volume that an image declares, so that the cluster is part of the container."""
PGDATA = f"{HOME}/data"
RECORD = f"{HOME}/instance.json"
PASSWORD = f"{HOME}/password"
INIT = "/docker-entrypoint-initdb.d"

_INIT_SUFFIXES = (".sql", ".sql.gz", ".sql.xz", ".sql.zst", ".sh")
_SPOOL_BYTES = 8 * 1024**2


def pack(launch: Launch, uid: int, gid: int) -> IO[bytes]:
    """Return a tar stream to unpack at `/`; the caller closes it."""
    stream = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 - the caller's
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(_own(tarfile.TarInfo(HOME.lstrip("/")), uid, gid, 0o700, tarfile.DIRTYPE))
        _add(archive, RECORD, launch.record.to_json(), uid, gid)
        _add(archive, PASSWORD, launch.record.password.reveal().encode(), uid, gid)
        for path, name in init_files(launch.init):
            _add_init(archive, path, name, uid, gid)
    stream.seek(0)
    return stream


def init_files(init: Path | None) -> tuple[tuple[Path, str], ...]:
    """Return the files of an init path with their names below the image's init directory.

    Raises InvalidInput when there is nothing there that the image would run.
    """
    if init is None:
        return ()
    if init.is_file():
        if not init.name.endswith(_INIT_SUFFIXES):
            known = ", ".join(_INIT_SUFFIXES)
            raise InvalidInput(f"init {init} is no init script", hint=f"the image runs {known} files")
        return ((init, init.name),)
    if not init.is_dir():
        raise InvalidInput(
            f"init {init} does not exist", hint="name a .sql, .sql.gz or .sh file, or a directory"
        )
    found = tuple(
        (path, path.relative_to(init).as_posix()) for path in sorted(init.rglob("*")) if path.is_file()
    )
    if not any(name.endswith(_INIT_SUFFIXES) and "/" not in name for _, name in found):
        raise InvalidInput(f"init directory {init} holds no .sql, .sql.gz or .sh file at its top level")
    return found


def unpack_one(chunks: Iterable[bytes]) -> bytes:
    """Return the content of the single file in an archive that the engine sent, empty when it is none."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        member = archive.next()
        content = archive.extractfile(member) if member is not None else None
        return content.read() if content is not None else b""


def _add(archive: tarfile.TarFile, path: str, content: bytes, uid: int, gid: int) -> None:
    entry = _own(tarfile.TarInfo(path.lstrip("/")), uid, gid, 0o600)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _add_init(archive: tarfile.TarFile, path: Path, name: str, uid: int, gid: int) -> None:
    try:
        with path.open("rb") as content:
            status = os.fstat(content.fileno())
            mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
            entry = _own(tarfile.TarInfo(f"{INIT}/{name}".lstrip("/")), uid, gid, mode)
            entry.size = status.st_size
            archive.addfile(entry, content)
    except OSError as exc:
        raise InvalidInput(f"init file {path} cannot be read: {exc.strerror}") from exc


def _own(
    entry: tarfile.TarInfo, uid: int, gid: int, mode: int, kind: bytes = tarfile.REGTYPE
) -> tarfile.TarInfo:
    entry.type, entry.mode = kind, mode
    entry.uid, entry.gid, entry.uname, entry.gname = uid, gid, "", ""
    entry.mtime = time.time()
    return entry
