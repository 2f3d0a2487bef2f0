"""What goes into a container before it starts, as a tar stream for the engine's archive API.

Files go in through the API, never as bind mounts, so that a remote engine gets them too; secrets go in as
files of the server's own user, so that neither the environment nor `docker inspect` shows them.
"""

from __future__ import annotations

import io
import os
import secrets
import stat
import tarfile
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as files_of
from typing import IO, TYPE_CHECKING

from dev_postgres_mcp.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dev_postgres_mcp.model import InitFile

HOME = "/var/lib/dev-postgres-mcp"
"""Ours, outside every volume that an image declares, so that the cluster is part of the container."""
PGDATA = f"{HOME}/data"
SECRET = f"{HOME}/secret"
"""A tmpfs: what lies there is in no commit of the container."""
SWITCH = f"{HOME}/switch.sh"
FREEZE = f"{HOME}/freeze.sh"
RECEIVE = f"{HOME}/receive.sh"
PREPARE = f"{HOME}/prepare.sh"
INIT = "/docker-entrypoint-initdb.d"

COMPLETE = "complete"
"""The last file of a parcel."""
MAX_READ_BYTES = 256 * 1024
"""Of a file read out of a container: a record has a few hundred bytes, an /etc/passwd a few thousand."""
_SPOOL_BYTES = 8 * 1024**2


@dataclass(frozen=True, kw_only=True)
class ServerUser:
    """The image's own `postgres` user, as numbers."""

    uid: int
    gid: int


def pack(user: ServerUser, files: Mapping[str, bytes], init: Iterable[InitFile] = ()) -> IO[bytes]:
    """Return a tar stream to unpack at `/`: files of that user by their path below HOME; the caller closes it.

    A parcel's files stand in the order in which they are to arrive.
    """
    stream = tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)  # noqa: SIM115 - the caller's
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        # An engine gives a tmpfs the mode of the directory that it covers, and root as its owner.
        archive.addfile(_own(tarfile.TarInfo(SECRET.strip("/")), user, 0o1777, tarfile.DIRTYPE))
        directories = {"": None} | {parent: None for path in files if (parent := _parent(path))}
        for directory in directories:
            path = f"{HOME}/{directory}".strip("/")
            archive.addfile(_own(tarfile.TarInfo(path), user, 0o700, tarfile.DIRTYPE))
        for path, content in files.items():
            entry = _own(tarfile.TarInfo(f"{HOME}/{path}".lstrip("/")), user, 0o600)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for file in init:
            _add_init(archive, file, user)
    stream.seek(0)
    return stream


def parcel(instance_id: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return files as a parcel that the switch takes in when the last of them has arrived."""
    box = f"inbox-{instance_id}-{secrets.token_hex(4)}"
    return {f"{box}/{name}": content for name, content in [*files.items(), (COMPLETE, b"")]}


@cache
def load_scripts() -> Mapping[str, bytes]:
    """Return the scripts that run inside a container, as files for `pack`."""
    folder = files_of("dev_postgres_mcp.runtimes.docker").joinpath("shell")
    names = (path.rpartition("/")[2] for path in (SWITCH, FREEZE, RECEIVE, PREPARE))
    return {name: folder.joinpath(name).read_bytes() for name in names}


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


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


def _add_init(archive: tarfile.TarFile, file: InitFile, user: ServerUser) -> None:
    try:
        with file.path.open("rb") as content:
            status = os.fstat(content.fileno())
            mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
            entry = _own(tarfile.TarInfo(f"{INIT}/{file.name}".lstrip("/")), user, mode)
            entry.size = status.st_size
            archive.addfile(entry, content)
    except OSError as exc:
        raise InvalidInput(f"init file {file.path} cannot be read: {exc.strerror}") from exc


def _own(
    entry: tarfile.TarInfo, user: ServerUser, mode: int, kind: bytes = tarfile.REGTYPE
) -> tarfile.TarInfo:
    entry.type, entry.mode = kind, mode
    entry.uid, entry.gid, entry.uname, entry.gname = user.uid, user.gid, "", ""
    entry.mtime = time.time()
    return entry
