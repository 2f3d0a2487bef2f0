"""A fresh database for each test on one server, and a rehearsal in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.instances.rehearsal import rehearse
from dev_postgres_mcp.sql.script_client import PsycopgScriptSql
from tests.integration.queries import value

if TYPE_CHECKING:
    from dev_postgres_mcp.changes import Change, Inspection
    from dev_postgres_mcp.model import Conninfo
    from dev_postgres_mcp.rehearsals import LockHeld, Rehearsal

PATIENCE = 60.0


@dataclass(frozen=True, kw_only=True)
class Database:
    """One database as its superuser."""

    conninfo: Conninfo

    def execute(self, script: str) -> None:
        """Run statements as any client would."""
        with psycopg.connect(self.conninfo.dsn(), autocommit=True) as connection:
            connection.execute(script.encode())

    def value(self, statement: str) -> object:
        """Return the only value of the only row."""
        return value(self.conninfo.dsn(), statement)

    def rehearse(self, script: str, *, deadline: Deadline | None = None) -> Rehearsal:
        """Rehearse a script in it."""
        return rehearse(PsycopgScriptSql(), self.conninfo, script, deadline=deadline or Deadline(PATIENCE))

    def inspect(self) -> Inspection:
        """Look at it."""
        return PsycopgScriptSql().inspect(self.conninfo, deadline=Deadline(PATIENCE))

    def definitions(self) -> dict[str, str]:
        """Return its objects by their labels."""
        return {key.label(): text for key, text in self.inspect().schema.objects.items()}


def make_database(conninfo: Conninfo, name: str) -> Database:
    """Make a fresh one beside the one of `conninfo`."""
    with psycopg.connect(conninfo.dsn(), autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
    return Database(conninfo=conninfo.on(database=name))


def lock_on(rehearsal: Rehearsal, relation: str) -> LockHeld:
    """Return the only lock on a relation."""
    (found,) = [lock for lock in rehearsal.locks if lock.relation == relation]
    return found


def summaries(rehearsal: Rehearsal) -> list[str]:
    """Return the changes of the schema as lines."""
    return [change.summary() for change in rehearsal.changes.schema]


def change_of(rehearsal: Rehearsal, label: str) -> Change:
    """Return the only change of one object."""
    (found,) = [change for change in rehearsal.changes.schema if change.identity.label() == label]
    return found
