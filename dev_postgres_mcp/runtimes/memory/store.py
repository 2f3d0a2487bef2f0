"""The images that were made in a MemoryWorld: clusters prepared once, and clusters frozen as snapshots."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import InitFailed
from dev_postgres_mcp.model import Progress
from dev_postgres_mcp.runtimes.base import Image, Kind, StoredImage
from dev_postgres_mcp.runtimes.memory.world import FRESH, MEGABYTE, SUPERUSER, Stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import InitFile
    from dev_postgres_mcp.runtimes.base import Container, Freeze
    from dev_postgres_mcp.runtimes.memory.world import MemoryWorld

_IMAGE_SIZE = 5 * MEGABYTE


class MemoryStore:
    """The images of one world.  Thread-safe."""

    def __init__(self, world: MemoryWorld) -> None:
        """Keep them in `world`."""
        self._world = world

    def find_prepared(self, base: Image, *, seed: str, deadline: Deadline | None) -> Image | None:
        """Return the prepared image of a base image and seed, None when there is none."""
        self._world.check_up(deadline)
        key = _prepared_key(base, seed)
        return next((one.image for one in self.list() if one.key == key), None)

    def prepare(
        self,
        base: Image,
        *,
        seed: str,
        init: tuple[InitFile, ...],
        progress: Callable[[Progress], None],
        deadline: Deadline,
    ) -> Image:
        """Make the prepared image of a base image anew, and take the name from an older one."""
        if not init and (found := self.find_prepared(base, seed=seed, deadline=deadline)):
            return found
        progress(Progress(message=f"preparing {base.ref} once"))
        if self._world.dies_at_start or not self._world.can_prepare:
            raise InitFailed("the image could not be prepared", hint="the log lines above say why")
        key = _prepared_key(base, seed)
        made = StoredImage(
            image=replace(base, id=_digest(key, datetime.now(UTC).isoformat()), prepared=True, seed=seed),
            kind=Kind.PREPARED,
            name=seed,
            key=key,
            created_at=datetime.now(UTC),
            size=_IMAGE_SIZE,
        )
        cluster = FRESH.with_database(SUPERUSER, tuple(file.name for file in init))
        with self._world.lock:
            for older in self._world.stored.values():
                if older.image.key == key:
                    older.image = replace(older.image, key="")
            self._world.stored[made.image.id] = Stored(image=made, cluster=cluster)
        return made.image

    def freeze(self, container: Container, freeze: Freeze, *, deadline: Deadline) -> StoredImage:
        """Keep the cluster as of its last checkpoint, without what only its server knows."""
        body = self._world.body(container.container_id, deadline)
        frozen = StoredImage(
            image=Image(
                ref=container.image,
                id=_digest(freeze.key),
                base_id=container.base_id,
                version=container.version,
                user=container.user,
                prepared=True,
            ),
            kind=freeze.kind,
            name=freeze.name,
            key=freeze.key,
            created_at=datetime.now(UTC),
            expires_at=freeze.expires_at,
            source=container.id,
            size=_IMAGE_SIZE,
            database=freeze.database,
            username=freeze.username,
            limits=container.limits,
            settings=dict(container.settings),
        )
        with self._world.lock:
            self._world.stored[frozen.image.id] = Stored(image=frozen, cluster=body.written)
        return frozen

    def list(self, *, deadline: Deadline | None = None) -> tuple[StoredImage, ...]:
        """Return every image that was made here, oldest first."""
        self._world.check_up(deadline)
        with self._world.lock:
            found = [stored.image for stored in self._world.stored.values()]
        return tuple(sorted(found, key=lambda image: image.created_at))

    def remove(self, image_id: str, *, deadline: Deadline | None = None) -> bool:
        """Remove it; False when a container stands on it or it is gone."""
        self._world.check_up(deadline)
        with self._world.lock:
            used = {body.container.image_id for body in self._world.bodies.values()}
            return image_id not in used and self._world.stored.pop(image_id, None) is not None


def _prepared_key(base: Image, seed: str) -> str:
    return _digest(base.id, seed)[7:31]


def _digest(*parts: str) -> str:
    return f"sha256:{hashlib.sha256(' '.join(parts).encode()).hexdigest()}"
