"""Which instance does a person mean: an id, a name, or the start of an id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import AmbiguousReference, InstanceNotFound
from dev_postgres_mcp.parsing import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dev_postgres_mcp.runtimes.base import Container

CONTAINER_PREFIX = "mcp-postgres-"


def find_container(
    ref: str, containers: Sequence[Container], names: Callable[[], Mapping[str, str]]
) -> Container:
    """Return the one container that `ref` names.

    The exact beats the abbreviated: id, container name, display name, container id, then unique prefixes of
    the id and of the container id.  `names` (display name by id) costs reads and is asked for only when needed.
    Raises InstanceNotFound, or AmbiguousReference with the candidates.
    """
    tiers: tuple[Callable[[Container], bool], ...] = (
        lambda container: ref in {container.id, CONTAINER_PREFIX + container.id, container.container_id},
        lambda container: names().get(container.id) == ref,
        lambda container: container.id.startswith(ref),
        lambda container: container.container_id.startswith(ref),
    )
    for matches in tiers if ref else ():
        found = [container for container in containers if matches(container)]
        if len(found) == 1:
            return found[0]
        if found:
            raise _ambiguous(ref, found, names())
    raise InstanceNotFound(f"no instance answers to {shorten(ref)!r}")


def _ambiguous(ref: str, found: Sequence[Container], names: Mapping[str, str]) -> AmbiguousReference:
    candidates = "".join(
        f"\n  - {container.id} ({names.get(container.id) or 'no name'}, {container.created_at:%Y-%m-%d %H:%M:%S} UTC)"
        for container in found
    )
    return AmbiguousReference(f"{shorten(ref)!r} could be any of {len(found)} instances:{candidates}")
