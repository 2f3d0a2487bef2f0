"""Puts another container in the place of one: same id, same port, and one of them whole at every moment."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import EngineFailed, InstanceNotFound
from dev_postgres_mcp.runtimes.base import Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from dev_postgres_mcp.runtimes.base import Container, Launch
    from dev_postgres_mcp.runtimes.docker.container import Place
    from dev_postgres_mcp.runtimes.docker.engine import EngineConnection
    from dev_postgres_mcp.runtimes.docker.launching import Launcher, Remove

log = logging.getLogger(__name__)

FINISH_SECONDS = 30.0
"""For the end of an old container and the start of the one that takes its place; usual is half a second."""
STOP_SECONDS = 2.0
"""For a server to tell its clients and stop; usual is a tenth."""
_POLL_SECONDS = 0.02


class Restorer:
    """Restores on one engine.  Keeps nothing: what a dead restorer has left says itself what is to be done."""

    def __init__(
        self,
        connection: EngineConnection,
        launcher: Launcher,
        inspect: Callable[..., Container],
        remove: Remove,
    ) -> None:
        """Work through `connection`; make, look at and remove containers as the runtime does."""
        self._connection = connection
        self._launcher = launcher
        self._inspect = inspect
        self._remove = remove

    def restore(self, container: Container, launch: Launch, place: Place, *, deadline: Deadline) -> Container:
        """Start what `launch` says at `place`, the old container's, which ends.

        The new one is whole before the old one goes, so that whoever dies in the middle leaves one of them.
        """
        # Later than that a sweep takes it for broken off.
        deadline = deadline.part(launch.patience, undoable=True)
        with self._launcher.making(launch, place, deadline=deadline):
            fresh = self._inspect(launch.role.name_for(container.id), deadline=deadline)
        # From here on nothing is undone and nobody can cancel: the new one is brought up, or `finish` is left to
        # do it.
        finishing = Deadline(FINISH_SECONDS)
        restored = None
        if self._end(container, finishing):
            restored = self.finish(fresh, deadline=finishing)
        else:
            self._remove(fresh.container_id, deadline=finishing)
        if restored is None:
            raise InstanceNotFound(f"{container.id} was dropped while it was being restored")
        return restored

    def finish(self, container: Container, *, deadline: Deadline) -> Container | None:
        """Bring up what a dead restorer left; None when somebody else did."""
        try:
            with self._connection.calling(f"starting {container.name}", deadline=deadline) as api:
                if not container.running:
                    api.start(container.container_id)
                api.rename(container.name, Role.INSTANCE.name_for(container.id))
        except InstanceNotFound:
            return None
        return self._inspect(container.container_id, deadline=deadline)

    def _end(self, container: Container, deadline: Deadline) -> bool:
        """Stop a server so that its clients hear of it (57P01), then remove its container; False when it was gone."""
        patience = deadline.part(STOP_SECONDS)
        try:
            with self._connection.calling(f"stopping {container.name}", deadline=deadline) as api:
                api.kill(container.container_id, "INT")
        except InstanceNotFound:
            return False
        except EngineFailed:
            log.debug("%s does not run any more", container.name)
        try:
            with self._connection.calling(f"stopping {container.name}", deadline=deadline) as api:
                while patience.remaining() > 0:
                    api.inspect_container(container.container_id)
                    patience.sleep(_POLL_SECONDS)
        except InstanceNotFound:
            log.debug("%s has ended", container.name)
        self._remove(container.container_id, deadline=deadline)
        return True
