"""One database of an instance, and how each of the usual libraries is told where it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dev_postgres_mcp.model import Conninfo
    from dev_postgres_mcp.sql.database_base import Connection, DatabaseSql


@dataclass(frozen=True, kw_only=True)
class Database:
    """A database and the login to it.  Its repr shows no password; every rendering does hold it."""

    conninfo: Conninfo
    _sql: DatabaseSql = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """Return the name of the database on its server."""
        return self.conninfo.database

    @property
    def dsn(self) -> str:
        """Return the libpq URI, which psycopg, asyncpg and most other drivers take as it is."""
        return self.conninfo.dsn()

    def connect(self, *, autocommit: bool = False) -> Connection:
        """Return a new psycopg connection that no `PG*` variable reaches into; raises LoginFailed.

        Whether or not it is closed, the database can be dropped.
        """
        return self._sql.connect(self.conninfo, autocommit=autocommit)

    def environment(self) -> dict[str, str]:
        """Return `DATABASE_URL` and the `PG*` variables, for a child process."""
        return self.conninfo.environment()

    def psycopg_kwargs(self) -> dict[str, str | int]:
        """Return keyword arguments of `psycopg.connect`."""
        return {**self._place(), "dbname": self.name}

    def asyncpg_kwargs(self) -> dict[str, str | int]:
        """Return keyword arguments of `asyncpg.connect` and `asyncpg.create_pool`."""
        return {**self._place(), "database": self.name}

    def sqlalchemy_url(self, driver: str = "psycopg") -> str:
        """Return a URL for `create_engine`; `driver` as in SQLAlchemy: psycopg, asyncpg, psycopg2, pg8000."""
        return self.dsn.replace("postgresql://", f"postgresql+{driver}://", 1)

    def django_settings(self) -> dict[str, str]:
        """Return an entry of Django's `DATABASES`."""
        conninfo = self.conninfo
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": self.name,
            "USER": conninfo.username,
            "PASSWORD": conninfo.password.reveal(),
            "HOST": conninfo.endpoint.host,
            "PORT": str(conninfo.endpoint.port),
        }

    def _place(self) -> dict[str, str | int]:
        return {
            "host": self.conninfo.endpoint.host,
            "port": self.conninfo.endpoint.port,
            "user": self.conninfo.username,
            "password": self.conninfo.password.reveal(),
        }
