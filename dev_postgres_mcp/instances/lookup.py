"""Which instance or snapshot does a person mean: an id, a name, or the start of an id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import AmbiguousReference, InstanceNotFound, SnapshotNotFound
from dev_postgres_mcp.parsing import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from dev_postgres_mcp.runtimes.base import Container, StoredImage


def find_container(
    ref: str, containers: Sequence[Container], names: Callable[[], Mapping[str, str]]
) -> Container:
    """Return the one container that `ref` names.

    The exact beats the abbreviated: id, container name or container id, display name, then a unique prefix of
    the id, then of the container id.  `names` (display name by id) costs a read of every record and is asked
    for only where an id does not settle it.  Raises InstanceNotFound, or AmbiguousReference with the candidates.
    """
    exact = [one for one in containers if ref in {one.id, one.name, one.container_id}]
    if exact:
        return exact[0]
    known = names() if ref and containers else {}
    tiers = (
        [one for one in containers if known.get(one.id) == ref],
        [one for one in containers if one.id.startswith(ref)],
        [one for one in containers if one.container_id.startswith(ref)],
    )
    found = next((tier for tier in tiers if tier and ref), [])
    if not found:
        raise InstanceNotFound(f"no instance answers to {shorten(ref)!r}")
    if len(found) > 1:
        raise _ambiguous(ref, found, known)
    return found[0]


def find_snapshot(ref: str, stored: Sequence[StoredImage]) -> StoredImage:
    """Return the one snapshot that `ref` names: by name or id, else by the start of an id.

    Raises SnapshotNotFound, or AmbiguousReference with the candidates.
    """
    exact = [one for one in stored if ref in {one.name, one.key}]
    found = exact or [one for one in stored if ref and one.key.startswith(ref)]
    if not found:
        raise SnapshotNotFound(f"no snapshot answers to {shorten(ref)!r}")
    return only_snapshot(ref, found)


def only_snapshot(ref: str, found: Sequence[StoredImage]) -> StoredImage:
    """Return the only one of those that were found; raises AmbiguousReference for several."""
    if len(found) > 1:
        keys = ", ".join(one.key for one in found)
        raise AmbiguousReference(f"{shorten(ref)!r} could be any of the snapshots {keys}")
    return found[0]


def _ambiguous(ref: str, found: Sequence[Container], names: Mapping[str, str]) -> AmbiguousReference:
    candidates = "".join(
        f"\n  - {container.id} ({names.get(container.id) or 'no name'}, {container.created_at:%Y-%m-%d %H:%M:%S} UTC)"
        for container in found
    )
    return AmbiguousReference(f"{shorten(ref)!r} could be any of {len(found)} instances:{candidates}")
