"""The frozen values of "what did this change": a database before and after, and the difference.

Standard library only, no I/O.  Names are qualified and quoted as SQL needs them: `public."my table"`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True, order=True)
class Identity:
    """Which object of a database: its kind, its qualified name, and the name of what it is a part of.

    A column, constraint, index, trigger, rule, policy, comment or privilege is a part of a table (or of a
    view, function, type, schema); `part_of` is empty for what stands on its own.
    """

    part_of: str = ""
    kind: str
    name: str

    def label(self) -> str:
        """Return kind and name in one: `column email of public.users`."""
        return f"{self.kind} {self.name}" + (f" of {self.part_of}" if self.part_of else "")


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Every user object of one database with its definition as text; a definition may be empty."""

    objects: Mapping[Identity, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TableState:
    """One table with rows of its own (a leaf partition, a materialized view).

    `rows` is an exact count.  `inserted`, `updated` and `deleted` are the server's counters since the table
    was made, rolled back work included; None on a server that cannot say them in time (PostgreSQL 14).
    A new `filenode` under the same `oid` means that the table was written anew.
    """

    oid: int
    filenode: int
    rows: int
    inserted: int | None = None
    updated: int | None = None
    deleted: int | None = None


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """One database at one moment: its schema, and its tables by name."""

    schema: Schema = Schema()
    tables: Mapping[str, TableState] = field(default_factory=dict)

    def row_counts(self) -> dict[str, int]:
        """Return the exact number of rows of each table."""
        return {name: table.rows for name, table in self.tables.items()}

    def without_counters(self) -> Inspection:
        """Return it without what the server counted, when that was rolled back."""
        tables = {
            name: replace(table, inserted=None, updated=None, deleted=None)
            for name, table in self.tables.items()
        }
        return replace(self, tables=tables)


class Effect(StrEnum):
    """What became of an object."""

    ADDED = "added"
    REMOVED = "removed"
    ALTERED = "altered"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One object that is not what it was; `before` and `after` are definitions, empty where there was none.

    The parts of a table that came or went as a whole are lines of its definition, not changes of their own.
    """

    effect: Effect
    identity: Identity
    before: str = ""
    after: str = ""

    def summary(self) -> str:
        """Return the change as one line: `altered column age of public.users: integer -> bigint`."""
        words = f"{self.effect} {self.identity.label()}"
        if self.effect is Effect.ALTERED:
            return f"{words}: {_one_line(self.before)} -> {_one_line(self.after)}"
        text = _one_line(self.before or self.after)
        return f"{words}: {text}" if text else words


@dataclass(frozen=True, kw_only=True)
class RowsChanged:
    """The rows of one table that changed.

    `before` is None for a table that was not there, `after` for one that is gone.  The other three count what
    was attempted, None when the server could not say; a TRUNCATE is in none of them.
    """

    table: str
    before: int | None
    after: int | None
    inserted: int | None = None
    updated: int | None = None
    deleted: int | None = None


@dataclass(frozen=True, kw_only=True)
class Changes:
    """The difference of two inspections; empty (and false) when there is none.

    `rewritten` names the tables whose whole content was written anew, as they are called afterwards: by an
    ALTER TABLE that rewrites, VACUUM FULL, CLUSTER, REFRESH MATERIALIZED VIEW or TRUNCATE.
    """

    schema: tuple[Change, ...] = ()
    rows: tuple[RowsChanged, ...] = ()
    rewritten: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.schema or self.rows or self.rewritten)


_SUMMARY_LENGTH = 200


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SUMMARY_LENGTH else line[: _SUMMARY_LENGTH - 1] + "…"
