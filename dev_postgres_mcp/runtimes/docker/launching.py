"""From a launch to a started container: created, filled, started, or removed again."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager, suppress
from http import HTTPStatus
from itertools import cycle
from typing import TYPE_CHECKING, Any, Protocol

import docker.errors

from dev_postgres_mcp.errors import DevPostgresError, EngineFailed, EngineUnsupported, ImageUnsuitable
from dev_postgres_mcp.runtimes.base import Role
from dev_postgres_mcp.runtimes.docker.container import USER, create_arguments, read_details
from dev_postgres_mcp.runtimes.docker.files import (
    COMPLETE,
    HOME,
    ServerUser,
    load_scripts,
    pack,
    parcel,
    unpack_one,
)
from dev_postgres_mcp.runtimes.docker.state import (
    EXIT,
    LEASE,
    READY,
    SPARE,
    STATE_DIRECTORY,
    USERNAME,
    render_lines,
    render_spare,
    state_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import InitFile, Secret
    from dev_postgres_mcp.runtimes.base import Container, Image, Launch
    from dev_postgres_mcp.runtimes.docker.container import Place
    from dev_postgres_mcp.runtimes.docker.discovery import Api
    from dev_postgres_mcp.runtimes.docker.engine import EngineConnection


LATE_CREATE_SECONDS = 2.0
"""How long after a lost reply a container may still appear."""
TOLD_SECONDS = 2.0
"""For the superuser to get its password from stdin; usual is a tenth."""
PASSWORD_SECONDS = 5.0
_LOOK_SHARE = 3.0
"""Pause between looks, in times of what a look takes: a millisecond with an engine at rest."""
_LOOKS = 20
"""For the good news before one for the bad."""
_POLL_SECONDS = 0.1


class Remove(Protocol):
    """How to take back what a failed start has made."""

    def __call__(self, container_id: str, /, *, deadline: Deadline) -> bool:
        """Remove a container by id or name."""


class Launcher:
    """Starts containers on one engine.  Remembers which user each image's server runs as."""

    def __init__(self, connection: EngineConnection, remove: Remove) -> None:
        """Start through `connection`; `remove` takes back what a failed start has made."""
        self._connection = connection
        self._remove = remove
        self._users: dict[str, ServerUser] = {}

    def launch(self, launch: Launch, place: Place, *, deadline: Deadline) -> Container:
        """Return a started container at `place`.

        Raises PortConflict when somebody else has the port.  On any failure the container is removed.
        """
        name = launch.role.name_for(launch.record.id)
        if not launch.image.whole:
            with self.making(launch, place, deadline=deadline):
                return self.begin(name, place.host, deadline=deadline)
        # The scripts are in the image, and the state waits on stdin for whoever starts: the quickest way in.
        # Until it has come nobody can log in, and the switch ends at the end of the patience.
        files = _birth_files(launch)
        lines = render_lines(files)
        with self.creating(name, lambda api: create_arguments(api, launch, place), deadline=deadline):
            with self._telling(name, lines or (), deadline=deadline):
                container = self.begin(name, place.host, deadline=deadline)
            # What is between us and the engine need not pass stdin on.
            if lines is None or not self._wait_password(container, deadline.part(TOLD_SECONDS)):
                self.send(container, launch.image, files, deadline=deadline)
                self._wait_password(container, deadline.part(PASSWORD_SECONDS))
            return container

    @contextmanager
    def making(self, launch: Launch, place: Place, *, deadline: Deadline) -> Iterator[None]:
        """Create and fill a container; when that or what follows fails it is removed."""
        name = launch.role.name_for(launch.record.id)
        with self.creating(name, lambda api: create_arguments(api, launch, place), deadline=deadline):
            files = {**load_scripts(), **parcel(launch.record.id, _birth_files(launch))}
            self.fill(name, launch.image, files, launch.init, deadline=deadline)
            yield

    @contextmanager
    def creating(
        self, name: str, arguments: Callable[[Api], dict[str, Any]], *, deadline: Deadline
    ) -> Iterator[None]:
        """Create a container; when that or what follows fails it is removed, by name: its id may not have come."""
        known = False
        try:
            with self._connection.calling(f"creating {name}", deadline=deadline) as api:
                api.create_container(**arguments(api))
            known = True
            yield
        except BaseException as exc:
            if known or not _is_taken(exc):
                with suppress(DevPostgresError):
                    self._undo(name, deadline.undoing(), known=known or isinstance(exc, EngineFailed))
            raise

    @contextmanager
    def _telling(self, name: str, lines: Iterable[Secret], *, deadline: Deadline) -> Iterator[None]:
        """Let lines be there on the stdin of a container that the body starts."""
        text = "".join(f"{line.reveal()}\n" for line in lines)
        with ExitStack() as attached:
            # Whom a proxy does not let attach sends a parcel later.
            with (
                suppress(EngineFailed),
                self._connection.calling(f"attaching to {name}", deadline=deadline) as api,
            ):
                line = attached.enter_context(api.attached(name))
                line.sendall(f"{text}{COMPLETE}\n".encode())
            yield

    def begin(self, name: str, host: str, *, deadline: Deadline) -> Container:
        """Start a container that was made and return it."""
        with self._connection.calling(f"starting {name}", deadline=deadline) as api:
            api.start(name)
        with self._connection.calling(f"inspecting {name}", deadline=deadline) as api:
            return _recognise(name, read_details(api.inspect_container(name), host))

    def send(
        self, container: Container, image: Image, files: Mapping[str, bytes], *, deadline: Deadline
    ) -> str:
        """Put a parcel into a running container and wake the switch; return where the parcel lies until then."""
        letters = parcel(container.id, files)
        self.fill(container.container_id, image, letters, deadline=deadline)
        with self._connection.calling(f"waking {container.name}", deadline=deadline) as api:
            api.kill(container.container_id, "USR1")
        return f"{HOME}/{next(iter(letters)).partition('/')[0]}"

    def fill(
        self,
        container: str,
        image: Image,
        files: Mapping[str, bytes],
        init: Iterable[InitFile] = (),
        *,
        deadline: Deadline,
    ) -> None:
        """Put files of the server's own user into a container."""
        user = self.server_user(container, image, deadline)
        with (
            pack(user, files, init) as stream,
            self._connection.calling(f"putting files into {container}", deadline=deadline) as api,
        ):
            api.put_archive(container, "/", stream)

    def _wait_password(self, container: Container, patience: Deadline) -> bool:
        """Return True when the superuser has its password, or the server has ended; False when it takes too long.

        A login tried too early would cost more than a look.  Whether the server is ready is for others to judge.
        """
        with self._connection.calling(f"looking beside {container.name}") as api:
            for name in cycle((*[READY] * _LOOKS, EXIT)):
                if patience.remaining() <= 0 or patience.cancelled:
                    break
                began = time.monotonic()
                if api.changed_at(container.container_id, f"{STATE_DIRECTORY}/{name}"):
                    return True
                # An engine that is slow to answer has others to serve.
                patience.sleep(_LOOK_SHARE * (time.monotonic() - began))
        return False

    def _undo(self, name: str, deadline: Deadline, *, known: bool) -> None:
        """Remove what was made.

        An engine finishes a create whose caller went away, so that one with an unknown outcome is looked for
        until it is there or could not come any more.
        """
        patience = deadline.part(0.0 if known else LATE_CREATE_SECONDS)
        while not self._remove(name, deadline=deadline) and patience.remaining() > 0:
            patience.sleep(_POLL_SECONDS)

    def server_user(self, container: str, image: Image, deadline: Deadline) -> ServerUser:
        """Return the image's `postgres` user: as its label says, else read once from its /etc/passwd."""
        key = image.base_id or image.id
        match image.user.split(":"):
            case [uid, gid] if uid.isdigit() and gid.isdigit():
                return ServerUser(uid=int(uid), gid=int(gid))
        if key not in self._users:
            with self._connection.calling(f"reading the users of {image.ref}", deadline=deadline) as api:
                try:
                    chunks, _ = api.get_archive(container, "/etc/passwd")
                    passwd = unpack_one(chunks)
                except docker.errors.NotFound:
                    passwd = b""
            self._users[key] = find_user(passwd, image.ref)
        return self._users[key]


def _is_taken(exc: BaseException) -> bool:
    """Tell whether a create failed since the name is somebody else's, which is not ours to remove: a restore's."""
    cause = exc.__cause__
    return isinstance(cause, docker.errors.APIError) and cause.status_code == HTTPStatus.CONFLICT


def _birth_files(launch: Launch) -> dict[str, bytes]:
    files = state_files(launch.record, launch.lease) | {USERNAME: launch.bootstrap.username.encode()}
    if launch.role in {Role.SPARE, Role.WARMING}:
        del files[LEASE]
        return files if launch.spare_until is None else {**files, SPARE: render_spare(launch.spare_until)}
    return files


def _recognise(name: str, container: Container | None) -> Container:
    if container is None:
        raise EngineUnsupported(f"the engine gave {name} other labels or another name than asked for")
    return container


def find_user(passwd: bytes, ref: str) -> ServerUser:
    """Return the user `postgres` in an /etc/passwd; raises ImageUnsuitable without such a line."""
    for line in passwd.decode("utf-8", "replace").splitlines():
        match line.split(":"):
            case [name, _, uid, gid, *_] if name == USER and uid.isdigit() and gid.isdigit():
                return ServerUser(uid=int(uid), gid=int(gid))
    raise ImageUnsuitable(f"the image {ref} has no user {USER!r}")
