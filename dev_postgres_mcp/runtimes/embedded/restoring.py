"""Puts another server in the place of one: same id, same port, and one of them whole at every moment."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import EngineFailed, InstanceNotFound
from dev_postgres_mcp.runtimes.base import Role
from dev_postgres_mcp.runtimes.embedded.container import role_file
from dev_postgres_mcp.runtimes.embedded.files import LOCK, STATE, WHOLE, is_held, read_bytes, write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from dev_postgres_mcp.runtimes.base import Launch
    from dev_postgres_mcp.runtimes.embedded.launching import Launcher, Source
    from dev_postgres_mcp.runtimes.embedded.storage import Ground

FINISH_SECONDS = 30.0
"""For the end of an old server and the start of the one that takes its place; usual is a quarter of a second."""
_STOP_SECONDS = 6.0


class Restorer:
    """Restores on one ground.  Keeps nothing: what a dead restorer has left says itself what is to be done."""

    def __init__(self, ground: Ground, launcher: Launcher) -> None:
        """Lay out and start as `launcher` does."""
        self._ground = ground
        self._launcher = launcher

    def restore(
        self, directory: Path, launch: Launch, source: Source, port: int, *, deadline: Deadline
    ) -> Path:
        """Return the directory that has taken the place of `directory`.

        The new cluster is whole before the old server goes, so that whoever dies in the middle leaves one of them.
        """
        deadline = deadline.part(launch.patience, undoable=True)
        fresh = self._launcher.lay_out(replace(launch, role=Role.RESTORING), source, port, build=True)
        with self._launcher.taking_back(fresh, deadline):
            self._launcher.build(fresh, deadline=deadline)
            deadline.check(f"restoring {launch.record.id}")
        # From here on nothing is undone and nobody can cancel.
        finishing = Deadline(FINISH_SECONDS)
        try:
            # With the lease of this moment: somebody may have moved it on since.
            write_whole(str(fresh / STATE), read_bytes(str(directory / STATE)))
        except FileNotFoundError as exc:
            self._launcher.remove(fresh)
            raise InstanceNotFound(f"{launch.record.id} was dropped while it was being restored") from exc
        self._launcher.stop(directory, deadline=finishing.part(_STOP_SECONDS))
        if not self.finish(fresh, deadline=finishing):
            raise InstanceNotFound(f"{launch.record.id} was dropped while it was being restored")
        return fresh

    def finish(self, directory: Path, *, deadline: Deadline) -> bool:
        """Start a server whose cluster is whole, and make it the instance; False when somebody else did."""
        restoring = directory / role_file(Role.RESTORING)
        if not restoring.exists():
            return False
        if not (directory / WHOLE).exists():
            raise EngineFailed(f"the cluster in {directory} is not whole", hint="restore again")
        if not is_held(str(directory / LOCK)):
            self._launcher.supervise(directory, deadline=deadline)
        with suppress(FileNotFoundError):
            restoring.rename(directory / role_file(Role.INSTANCE))
            return True
        return False
