"""Prepared images and seeds: list them, make them ahead of time, remove what no base image stands behind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import inf
from typing import TYPE_CHECKING

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import EngineFailed, EngineUnsupported, InvalidInput
from dev_postgres_mcp.model import PreparedImage
from dev_postgres_mcp.runtimes.base import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dev_postgres_mcp.instances.creation import Creator, Policy
    from dev_postgres_mcp.model import InitFile, Progress
    from dev_postgres_mcp.runtimes.base import Container, Image, Runtime, StoredImage


class PreparedImages:
    """List, prepare and prune on one runtime.  Thread-safe; keeps nothing."""

    def __init__(self, runtime: Runtime, policy: Policy, *, creator: Creator) -> None:
        """Find base images through `creator`."""
        self._runtime = runtime
        self._policy = policy
        self._creator = creator

    def list(self) -> tuple[PreparedImage, ...]:
        """Return every prepared image of the engine, oldest first."""
        containers = self._runtime.list()
        return tuple(
            _describe(stored, containers, stale=is_stale(self._runtime, stored))
            for stored in self._runtime.images()
            if stored.kind is Kind.PREPARED
        )

    def prepare(
        self,
        ref: str,
        *,
        seed: str = "",
        init: tuple[InitFile, ...] = (),
        progress: Callable[[Progress], None] = lambda _: None,
        deadline: Deadline | None = None,
    ) -> PreparedImage:
        """Return the prepared image of `ref`, made if it is not there; a seed is always made anew."""
        if bool(seed) != bool(init):
            raise InvalidInput(
                "a seed needs a name and init scripts",
                hint="give both --seed NAME and --init DIR, or neither",
            )
        if not self._runtime.capabilities.images:
            raise EngineUnsupported(f"the {self._runtime.name} runtime prepares no images")
        deadline = deadline or Deadline(inf)
        base = self._creator.ensure_base(ref, progress=progress, deadline=deadline)
        preparing = deadline.part(self._policy.pull_timeout, undoable=True)
        image: Image | None = None if seed else self._runtime.find_prepared(base, deadline=preparing)
        if image is None:
            image = self._runtime.prepare(base, seed=seed, init=init, progress=progress, deadline=preparing)
        for stored in self._runtime.images():
            if stored.image.id == image.id:
                return _describe(stored, self._runtime.list(), stale=False)
        raise EngineFailed(
            f"the prepared image of {ref} is there no more", hint="somebody has pruned it: try again"
        )

    def prune(self, *, everything: bool = False) -> tuple[PreparedImage, ...]:
        """Remove what is stale, or everything; what instances stand on stays.  Return what was removed."""
        candidates = [image for image in self.list() if everything or (image.stale and not image.seed)]
        return tuple(
            image for image in candidates if not image.users and self._runtime.remove_image(image.id)
        )


SUPERSEDED = timedelta(days=1)


def is_stale(runtime: Runtime, stored: StoredImage, *, deadline: Deadline | None = None) -> bool:
    """Tell whether a prepared image will not be used again: replaced, or its base image changed or gone."""
    if not stored.key:
        return True
    base = runtime.find_image(stored.image.ref, deadline=deadline)
    if base is None or base.id != stored.image.base_id:
        return True
    # Beside one of ours it is that of another version of this program, which may still be at work.
    found = runtime.find_prepared(base, seed=stored.name, deadline=deadline)
    old = datetime.now(UTC) > stored.created_at + SUPERSEDED
    return old and (found is None or found.id != stored.image.id)


def _describe(stored: StoredImage, containers: Sequence[Container], *, stale: bool) -> PreparedImage:
    return PreparedImage(
        id=stored.image.id,
        key=stored.key,
        base=stored.image.ref,
        version=stored.image.version,
        seed=stored.name,
        created_at=stored.created_at,
        size=stored.size,
        users=tuple(one.id for one in containers if one.image_id == stored.image.id),
        stale=stale,
    )
