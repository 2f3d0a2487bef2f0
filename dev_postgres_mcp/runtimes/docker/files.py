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

    from dev_postgres_mcp.model import InitFile
    from dev_postgres_mcp.runtimes.base import Launch

HOME = "/var/lib/dev-postgres-mcp"
"""Ours, outside every volume that an image declares, so that the cluster is part of the container."""
PGDATA = f"{HOME}/data"
RECORD = f"{HOME}/instance.json"
PASSWORD = f"{HOME}/password"
INIT = "/docker-entrypoint-initdb.d"

MAX_READ_BYTES = 256 * 1024
"""Of a file read out of a container: a record has a few hundred bytes, an /etc/passwd a few thousand."""
_SPOOL_BYTES = 8 * 1024**2


def pack(launch: Launch, uid: int, gid: int) -> IO[bytes]:
    """Return a tar stream to unpack at `/`; the caller closes it."""
    stream = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 - the caller's
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(_own(tarfile.TarInfo(HOME.lstrip("/")), uid, gid, 0o700, tarfile.DIRTYPE))
        _add(archive, RECORD, launch.record.to_json(), uid, gid)
        _add(archive, PASSWORD, launch.record.password.reveal().encode(), uid, gid)
        for file in launch.init:
            _add_init(archive, file, uid, gid)
    stream.seek(0)
    return stream


def unpack_one(chunks: Iterable[bytes]) -> bytes:
    """Return the content of the one file in an archive that the engine sent.

    Empty when there is no regular file of a modest size: what is inside a container is not to be trusted.
    """
    content = io.BytesIO()
    for chunk in chunks:
        content.write(chunk)
        if content.tell() > MAX_READ_BYTES:
            return b""
    content.seek(0)
    try:
        with tarfile.open(fileobj=content) as archive:
            member = archive.next()
            file = archive.extractfile(member) if member is not None and member.isreg() else None
            return file.read() if file is not None else b""
    except tarfile.TarError:
        return b""


def _add(archive: tarfile.TarFile, path: str, content: bytes, uid: int, gid: int) -> None:
    entry = _own(tarfile.TarInfo(path.lstrip("/")), uid, gid, 0o600)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _add_init(archive: tarfile.TarFile, file: InitFile, uid: int, gid: int) -> None:
    try:
        with file.path.open("rb") as content:
            status = os.fstat(content.fileno())
            mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
            entry = _own(tarfile.TarInfo(f"{INIT}/{file.name}".lstrip("/")), uid, gid, mode)
            entry.size = status.st_size
            archive.addfile(entry, content)
    except OSError as exc:
        raise InvalidInput(f"init file {file.path} cannot be read: {exc.strerror}") from exc


def _own(
    entry: tarfile.TarInfo, uid: int, gid: int, mode: int, kind: bytes = tarfile.REGTYPE
) -> tarfile.TarInfo:
    entry.type, entry.mode = kind, mode
    entry.uid, entry.gid, entry.uname, entry.gname = uid, gid, "", ""
    entry.mtime = time.time()
    return entry
