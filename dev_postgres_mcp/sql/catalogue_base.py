"""What the guard's verb asks of PostgreSQL over TCP, so that a double can answer too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.guard.catalogue import Catalogue
    from dev_postgres_mcp.model import Conninfo


class CatalogueSql(Protocol):
    """One question on one database."""

    def read(self, conninfo: Conninfo, *, deadline: Deadline) -> Catalogue:
        """Return what the database knows by name.

        Raises LoginFailed when there is no way in, DeadlineExceeded or Cancelled when the time is over.
        """
