"""What changed between two looks at a database.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev_postgres_mcp.changes import Change, Changes, Effect, Identity, RowsChanged, TableState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dev_postgres_mcp.changes import Inspection

_NEW = TableState(oid=0, filenode=0, rows=0, inserted=0, updated=0, deleted=0)


def compare(before: Inspection, after: Inspection) -> Changes:
    """Return what is different in `after`, by name; `rewritten` only means something for one and the same server."""
    return Changes(
        schema=tuple(_compare_objects(before.schema.objects, after.schema.objects)),
        rows=tuple(_compare_rows(before.tables, after.tables)),
        rewritten=_find_rewritten(before.tables, after.tables),
    )


def _compare_objects(before: Mapping[Identity, str], after: Mapping[Identity, str]) -> Iterator[Change]:
    removed, added = _wholes(before) - _wholes(after), _wholes(after) - _wholes(before)
    old, new = _gather(before, removed), _gather(after, added)
    for identity in sorted(old.keys() | new.keys(), key=_order):
        if identity not in new:
            yield Change(effect=Effect.REMOVED, identity=identity, before=old[identity])
        elif identity not in old:
            yield Change(effect=Effect.ADDED, identity=identity, after=new[identity])
        elif old[identity] != new[identity]:
            yield Change(effect=Effect.ALTERED, identity=identity, before=old[identity], after=new[identity])


def _wholes(objects: Mapping[Identity, str]) -> set[Identity]:
    return {identity for identity in objects if not identity.part_of}


def _gather(objects: Mapping[Identity, str], folded: set[Identity]) -> dict[Identity, str]:
    """Return the objects, the parts of `folded` ones as lines of their definitions."""
    owners = {identity.name: identity for identity in folded}
    gathered = {identity: text for identity, text in objects.items() if identity.part_of not in owners}
    for identity in sorted(objects.keys() - gathered.keys(), key=_order):
        line = f"{identity.kind} {identity.name} {objects[identity]}".rstrip()
        gathered[owners[identity.part_of]] += f"\n  {line}"
    return gathered


def _order(identity: Identity) -> tuple[str, bool, str, str]:
    """Keep the parts of a thing right behind it."""
    return identity.part_of or identity.name, bool(identity.part_of), identity.kind, identity.name


def _compare_rows(before: Mapping[str, TableState], after: Mapping[str, TableState]) -> Iterator[RowsChanged]:
    for name in sorted(before.keys() | after.keys()):
        change = _compare_table(name, before.get(name), after.get(name))
        written = change.inserted or change.updated or change.deleted
        if written or (change.before or 0) != (change.after or 0):
            yield change


def _compare_table(name: str, before: TableState | None, after: TableState | None) -> RowsChanged:
    rows_before = before.rows if before else None
    if after is None:
        return RowsChanged(table=name, before=rows_before, after=None)
    start = before if before and before.oid == after.oid else _NEW
    return RowsChanged(
        table=name,
        before=rows_before,
        after=after.rows,
        inserted=_count_on(start.inserted, after.inserted),
        updated=_count_on(start.updated, after.updated),
        deleted=_count_on(start.deleted, after.deleted),
    )


def _count_on(before: int | None, after: int | None) -> int | None:
    """Return by how much a counter went up; None when nobody knows, or it was reset meanwhile."""
    if after is None or after < (before or 0):
        return None
    return after - (before or 0)


def _find_rewritten(before: Mapping[str, TableState], after: Mapping[str, TableState]) -> tuple[str, ...]:
    files = {table.oid: table.filenode for table in before.values()}
    return tuple(
        sorted(
            name for name, table in after.items() if files.get(table.oid, table.filenode) != table.filenode
        )
    )
