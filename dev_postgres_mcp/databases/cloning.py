"""A database for each test: cloned from the template, dropped whoever is still connected, or kept to be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from dev_postgres_mcp.databases.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from dev_postgres_mcp.databases.plans import Plan
    from dev_postgres_mcp.model import Conninfo, Instance
    from dev_postgres_mcp.sql.database_base import DatabaseSession, DatabaseSql

CLONE_PREFIX = "pytest_run_"
_EMPTY = "template1"
"""What PostgreSQL itself makes a database from; images put extensions there."""
_APPLICATION_PREFIX = "dev-postgres-mcp pytest "


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A database that stays when its test is over: on which instance, and until when that lives."""

    database: str
    instance_id: str
    redacted_dsn: str
    until: datetime | None
    reused: bool


class Clones:
    """The databases of one process of a test run, over one session that stays open.

    As long as it is open the server counts as used, and its run as alive.  For one thread.
    """

    def __init__(
        self,
        plan: Plan,
        instance: Instance,
        conninfo: Conninfo,
        *,
        sql: DatabaseSql,
        template: str = "",
        settle: Callable[[Instance], Instance],
    ) -> None:
        """Clone `template`, or make empty databases without one; `settle` lets the instance outlive the run."""
        self.instance = instance
        self.template = template
        self._plan = plan
        self._conninfo = conninfo
        self._sql = sql
        self._settle = settle
        self._settled = False
        self._numbers = count(1)
        self.session: DatabaseSession = sql.open(
            conninfo.on(database="postgres"), application=_APPLICATION_PREFIX + plan.run
        )

    def create(self) -> Database:
        """Return a database of its own for a test."""
        name = f"{CLONE_PREFIX}{self._plan.run}_{self._plan.worker}_{next(self._numbers)}"
        self.session.clone(name, self.template or _EMPTY)
        return self.on(name)

    def on(self, name: str) -> Database:
        """Return a database of the instance by its name."""
        return Database(conninfo=self._conninfo.on(database=name), _sql=self._sql)

    def drop(self, database: Database) -> None:
        """Remove it; connections that a test has left open are cut."""
        self.session.drop(database.name)

    def keep(self, database: Database, reason: str) -> Kept:
        """Let it be there after the run, with `reason` written on it, and let the instance live for that."""
        self.session.comment(database.name, reason)
        if not self._settled:
            self.instance = self._settle(self.instance)
            self._settled = True
        return Kept(
            database=database.name,
            instance_id=self.instance.id,
            redacted_dsn=database.conninfo.redacted_dsn(),
            until=self.instance.lease.expires_at,
            reused=self._plan.reuse,
        )

    def close(self) -> None:
        """Let go of the server."""
        self.session.close()


def find_living_runs(session: DatabaseSession) -> set[str]:
    """Return the test runs of which a process is connected to the server."""
    names = session.applications()
    return {name.removeprefix(_APPLICATION_PREFIX) for name in names if name.startswith(_APPLICATION_PREFIX)}


def find_left_over(session: DatabaseSession, living: set[str]) -> tuple[str, ...]:
    """Return the databases of runs that are over, unless somebody looks into them."""
    databases = [one for one in session.databases() if one.name.startswith(CLONE_PREFIX) and not one.clients]
    return tuple(
        one.name for one in databases if one.name.removeprefix(CLONE_PREFIX).partition("_")[0] not in living
    )
