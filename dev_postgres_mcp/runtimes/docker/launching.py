"""From a launch to a started container: created, filled, started, or removed again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import docker.errors

from dev_postgres_mcp.errors import DevPostgresError, EngineFailed, EngineUnsupported, ImageUnsuitable
from dev_postgres_mcp.runtimes.base import NAME_PREFIX
from dev_postgres_mcp.runtimes.docker.container import USER, create_arguments, read_details
from dev_postgres_mcp.runtimes.docker.files import pack, unpack_one

if TYPE_CHECKING:
    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.runtimes.base import Container, Image, Launch
    from dev_postgres_mcp.runtimes.docker.container import Place
    from dev_postgres_mcp.runtimes.docker.engine import EngineConnection


LATE_CREATE_SECONDS = 2.0
"""How long after a lost reply a container may still appear."""
_POLL_SECONDS = 0.1


class Remove(Protocol):
    """How to take back what a failed start has made."""

    def __call__(self, container_id: str, /, *, deadline: Deadline) -> bool:
        """Remove a container by id or name."""


class Launcher:
    """Starts containers on one engine.  Remembers which uid each image's server runs as."""

    def __init__(self, connection: EngineConnection, remove: Remove) -> None:
        """Start through `connection`; `remove` takes back what a failed start has made."""
        self._connection = connection
        self._remove = remove
        self._users: dict[str, tuple[int, int]] = {}

    def launch(self, launch: Launch, place: Place, *, deadline: Deadline) -> Container:
        """Return a started container at `place`.

        Raises PortConflict when somebody else has the port.  On any failure the container is removed, by name:
        its id may never have reached us.
        """
        name = NAME_PREFIX + launch.record.id
        known = False
        try:
            with self._connection.calling(f"creating {name}", deadline=deadline) as api:
                api.create_container(**create_arguments(api, launch, place))
            known = True
            self._fill(name, launch, deadline)
            with self._connection.calling(f"starting {name}", deadline=deadline) as api:
                api.start(name)
            with self._connection.calling(f"inspecting {name}", deadline=deadline) as api:
                return _recognise(name, read_details(api.inspect_container(name), place.host))
        except BaseException as exc:
            with suppress(DevPostgresError):
                self._undo(name, deadline.undoing(), known=known or isinstance(exc, EngineFailed))
            raise

    def _undo(self, name: str, deadline: Deadline, *, known: bool) -> None:
        """Remove what was made.

        An engine finishes a create whose caller went away, so that one with an unknown outcome is looked for
        until it is there or could not come any more.
        """
        patience = deadline.part(0.0 if known else LATE_CREATE_SECONDS)
        while not self._remove(name, deadline=deadline) and patience.remaining() > 0:
            patience.sleep(_POLL_SECONDS)

    def _fill(self, name: str, launch: Launch, deadline: Deadline) -> None:
        uid, gid = self._server_user(name, launch.image, deadline)
        with (
            pack(launch, uid, gid) as files,
            self._connection.calling(f"putting files into {name}", deadline=deadline) as api,
        ):
            api.put_archive(name, "/", files)

    def _server_user(self, name: str, image: Image, deadline: Deadline) -> tuple[int, int]:
        """Return uid and gid of the image's `postgres` user, read once per image from its /etc/passwd."""
        if image.id not in self._users:
            with self._connection.calling(f"reading the users of {image.ref}", deadline=deadline) as api:
                try:
                    chunks, _ = api.get_archive(name, "/etc/passwd")
                    passwd = unpack_one(chunks)
                except docker.errors.NotFound:
                    passwd = b""
            self._users[image.id] = find_user(passwd, image.ref)
        return self._users[image.id]


def _recognise(name: str, container: Container | None) -> Container:
    if container is None:
        raise EngineUnsupported(f"the engine gave {name} other labels or another name than asked for")
    return container


def find_user(passwd: bytes, ref: str) -> tuple[int, int]:
    """Return uid and gid of `postgres` in an /etc/passwd; raises ImageUnsuitable without such a line."""
    for line in passwd.decode("utf-8", "replace").splitlines():
        match line.split(":"):
            case [name, _, uid, gid, *_] if name == USER and uid.isdigit() and gid.isdigit():
                return int(uid), int(gid)
    raise ImageUnsuitable(f"the image {ref} has no user {USER!r}")
