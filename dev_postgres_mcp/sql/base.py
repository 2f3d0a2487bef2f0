"""What the manager asks of PostgreSQL over TCP, so that an in-memory double can answer too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo, ServerFacts


class Sql(Protocol):
    """Four questions, each one short connection; all raise LoginFailed when there is no way in."""

    def login(self, conninfo: Conninfo) -> float:
        """Log in with the password, run `SELECT 1` and return the seconds that it took."""

    def facts(self, conninfo: Conninfo) -> ServerFacts:
        """Return what the server says of itself."""

    def create_extensions(self, conninfo: Conninfo, names: Sequence[str], *, deadline: Deadline) -> None:
        """Create extensions with what they need; raises InitFailed with the server's own words."""

    def rename(self, conninfo: Conninfo, *, database: str, username: str, deadline: Deadline) -> None:
        """Rename the database and the superuser of `conninfo` where they differ; raises InitFailed."""
