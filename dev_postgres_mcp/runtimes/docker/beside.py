"""Reading and writing what lies beside a server, through the engine: one exec to read, one parcel to write."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import docker.errors

from dev_postgres_mcp.errors import EngineFailed, InstanceNotFound
from dev_postgres_mcp.model import Evidence
from dev_postgres_mcp.runtimes.base import Image
from dev_postgres_mcp.runtimes.docker.cache import StateCache
from dev_postgres_mcp.runtimes.docker.state import EXIT, READ_COMMAND, STATE_DIRECTORY, parse_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.runtimes.base import Container, State
    from dev_postgres_mcp.runtimes.docker.discovery import Api
    from dev_postgres_mcp.runtimes.docker.engine import EngineConnection
    from dev_postgres_mcp.runtimes.docker.launching import Launcher

LOOK_SECONDS = 10.0
"""For a look, which usually takes milliseconds: a container that hangs keeps nobody from seeing the others."""
TAKE_IN_SECONDS = 5.0
"""For the switch to take a parcel in; usual are some milliseconds."""
_POLL_SECONDS = 0.003


class Beside:
    """The states of the containers of one engine.  Thread-safe; the cache is on this client's disk."""

    def __init__(self, connection: EngineConnection, launcher: Launcher, directory: Path) -> None:
        """Read and write through `connection`, and keep what was read below `directory`."""
        self._connection = connection
        self._launcher = launcher
        self._directory = directory

    def read(self, container: Container) -> State | None:
        """Return the state of a container, None while there is none; raises InstanceNotFound.

        A container that is paused or has ended cannot be asked: what is known of it has to do.
        """
        cache, container_id = self._cache(), container.container_id
        if container.state == "paused":
            # What is started in it now hangs for ever, and each later look at it with that.
            return cache.get(container_id, "")
        with self._connection.calling(f"looking beside {container.name}", patience=LOOK_SECONDS) as api:
            stamp = api.changed_at(container_id, STATE_DIRECTORY)
            known = cache.get(container_id, stamp if container.running else "")
            if known is not None or not container.running or not stamp:
                return known
            state = parse_state(read_files(api, container_id), container.id)
        if state is not None:
            cache.put(container_id, stamp, state)
        return state

    def read_end(self, container: Container) -> Evidence | None:
        """Return how the server of a running container has ended, None while it goes on: one cheap look."""
        with self._connection.calling(f"looking beside {container.name}", patience=LOOK_SECONDS) as api:
            if not api.changed_at(container.container_id, f"{STATE_DIRECTORY}/{EXIT}"):
                return None
        state = self.read(container)
        return (state.ended if state else None) or Evidence()

    def write(self, container: Container, files: Mapping[str, bytes], *, deadline: Deadline) -> None:
        """Have the switch take in files; returns when it has.  Raises EngineFailed when it does not."""
        box = self._launcher.send(container, _image_of(container), files, deadline=deadline)
        patience = deadline.part(TAKE_IN_SECONDS)
        while self.changed_at(container, box, deadline=deadline):
            if patience.remaining() <= 0:
                raise EngineFailed(
                    f"{container.name} did not take in what was written", hint="it may be paused or stopping"
                )
            patience.sleep(_POLL_SECONDS)

    def remember(self, container: Container, state: State) -> None:
        """Note what was just written, under the stamp that it has now."""
        with self._connection.calling(f"looking beside {container.name}", patience=LOOK_SECONDS) as api:
            stamp = api.changed_at(container.container_id, STATE_DIRECTORY)
        if stamp:
            self._cache().put(container.container_id, stamp, state)

    def forget_all_but(self, containers: Iterable[Container]) -> None:
        """Drop from the cache what belongs to no container any more."""
        self._cache().keep_only(container.container_id for container in containers)

    def changed_at(self, container: Container, path: str, *, deadline: Deadline) -> str:
        """Return the time of a path's last change as the engine writes it; empty where there is no such path."""
        with self._connection.calling(f"looking into {container.name}", deadline=deadline) as api:
            return api.changed_at(container.container_id, path)

    def _cache(self) -> StateCache:
        address = self._connection.discover().address.url
        return StateCache(self._directory / "states" / hashlib.sha256(address.encode()).hexdigest()[:16])


def _image_of(container: Container) -> Image:
    return Image(ref=container.image, id=container.image_id, base_id=container.base_id, user=container.user)


def read_files(api: Api, container_id: str) -> bytes:
    """Return what READ_COMMAND prints in a container; nothing when it cannot be asked now.  Raises InstanceNotFound."""
    try:
        command = api.exec_create(container_id, list(READ_COMMAND), stderr=False)["Id"]
        return bytes(api.exec_start(command))
    except docker.errors.NotFound as exc:
        raise InstanceNotFound(f"container {container_id[:12]} is gone") from exc
    except docker.errors.APIError as exc:
        if exc.response is not None and exc.response.status_code == 409:  # noqa: PLR2004 - paused, stopping
            return b""
        raise
    except ValueError as exc:
        # The SDK reads on where the engine has hung up already: the container ended between the two calls.
        if "closed file" not in str(exc):
            raise
        return b""
