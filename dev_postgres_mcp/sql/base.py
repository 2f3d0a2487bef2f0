"""What the manager asks of PostgreSQL over TCP, so that an in-memory double can answer too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo, ServerFacts
    from dev_postgres_mcp.runtimes.base import Delivery


class Sql(Protocol):
    """Four questions, each one short connection; all raise LoginFailed when there is no way in."""

    def login(self, conninfo: Conninfo) -> float:
        """Log in with the password, run `SELECT 1` and return the seconds that it took."""

    def facts(self, conninfo: Conninfo) -> ServerFacts:
        """Return what the server says of itself."""

    def create_extensions(self, conninfo: Conninfo, names: Sequence[str], *, deadline: Deadline) -> None:
        """Create extensions with what they need; raises InitFailed with the server's own words."""

    def adjust(
        self,
        conninfo: Conninfo,
        wanted: Conninfo,
        *,
        copy: bool = False,
        delivery: Delivery | None = None,
        deadline: Deadline,
    ) -> None:
        """Make the server that answers to `conninfo` answer to `wanted`; raises InitFailed.

        The superuser is renamed and gets the wanted password.  The database is renamed, except `postgres`, which
        every server keeps: beside that one a new one is made, a copy of it when `copy`.  At last the server runs
        the program of `delivery`.
        """

    def checkpoint(self, conninfo: Conninfo, *, deadline: Deadline) -> None:
        """Have all that was committed before written to files; raises InitFailed."""
