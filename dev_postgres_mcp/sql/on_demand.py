"""`Sql` over TCP for programs that may ask nothing: psycopg is loaded with the first question."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo, ServerFacts
    from dev_postgres_mcp.runtimes.base import Delivery
    from dev_postgres_mcp.sql.client import PsycopgSql


class SqlOnDemand:
    """`Sql` that hands every question on."""

    def login(self, conninfo: Conninfo) -> float:
        """Log in with the password, run `SELECT 1` and return the seconds that it took."""
        return self._sql.login(conninfo)

    def facts(self, conninfo: Conninfo) -> ServerFacts:
        """Return what the server says of itself."""
        return self._sql.facts(conninfo)

    def create_extensions(self, conninfo: Conninfo, names: Sequence[str], *, deadline: Deadline) -> None:
        """Create extensions with what they need; raises InitFailed with the server's own words."""
        self._sql.create_extensions(conninfo, names, deadline=deadline)

    def adjust(
        self,
        conninfo: Conninfo,
        wanted: Conninfo,
        *,
        copy: bool = False,
        delivery: Delivery | None = None,
        deadline: Deadline,
    ) -> None:
        """Make the server that answers to `conninfo` answer to `wanted`; raises InitFailed."""
        self._sql.adjust(conninfo, wanted, copy=copy, delivery=delivery, deadline=deadline)

    def checkpoint(self, conninfo: Conninfo, *, deadline: Deadline) -> None:
        """Have all that was committed before written to files; raises InitFailed."""
        self._sql.checkpoint(conninfo, deadline=deadline)

    @cached_property
    def _sql(self) -> PsycopgSql:
        from dev_postgres_mcp.sql.client import PsycopgSql

        return PsycopgSql()
