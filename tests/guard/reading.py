"""Runs an admitted statement as the reader: in one pipelined exchange that is always rolled back, within limits."""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg

from dev_postgres_mcp.guard.verdicts import Kind

if TYPE_CHECKING:
    from tests.guard.servers import Server

logging.getLogger("psycopg").setLevel(logging.ERROR)  # a pipeline that meets an error says so twice
ROWS = 10
_BEGIN = (
    "BEGIN READ ONLY",
    "SET LOCAL statement_timeout = '1s'",
    "SET LOCAL lock_timeout = '200ms'",
    "SET LOCAL work_mem = '4MB'",
    "SET LOCAL max_parallel_workers_per_gather = 0",
)
_PATIENCE = 5.0
"""Seconds after which the backend is ended from outside: a timeout does not reach into every loop."""
_PINNED = "-c standard_conforming_strings=on -c client_encoding=utf8"
"""The guard reads text as these settings do."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a statement went: the rows that came, the server's error, what was said meanwhile."""

    rows: tuple[Any, ...] = ()
    error: str = ""
    notices: tuple[str, ...] = ()


@dataclass
class Reader:
    """One session of the reader, made anew when it is lost."""

    server: Server
    notices: list[str] = field(default_factory=list)
    _connection: psycopg.Connection[Any] | None = None

    def run(self, sql: str, kind: Kind) -> Outcome:
        """Run one statement as its kind is run."""
        self.notices.clear()
        timer = threading.Timer(_PATIENCE, self._terminate, (self.connection.info.backend_pid,))
        timer.start()
        try:
            rows = self._ask(sql) if kind in {Kind.EXPLAIN, Kind.SHOW} else self._fetch(sql)
            return Outcome(rows=rows, notices=tuple(self.notices))
        except psycopg.Error as exc:
            return Outcome(error=str(exc).partition("\n")[0], notices=tuple(self.notices))
        finally:
            timer.cancel()
            with suppress(psycopg.Error):
                self.connection.rollback()

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """The session; whatever it has kept of earlier statements shows in its state."""
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self.server.reader.dsn(), autocommit=True, options=_PINNED, prepare_threshold=None
            )
            self._connection.add_notice_handler(
                lambda notice: self.notices.append(str(notice.message_primary))
            )
        return self._connection

    def close(self) -> None:
        """Let the session go; the next statement gets a new one."""
        if self._connection is not None:
            self._connection.close()

    def _fetch(self, sql: str) -> tuple[Any, ...]:
        with self.connection.pipeline():
            self._begin()
            self.connection.execute(b"DECLARE c NO SCROLL CURSOR FOR " + sql.encode(), prepare=False)
            fetched = self.connection.execute(f"FETCH FORWARD {ROWS + 1} FROM c".encode(), prepare=False)
            self.connection.execute("ROLLBACK")
        return tuple(fetched.fetchall())

    def _ask(self, sql: str) -> tuple[Any, ...]:
        with self.connection.pipeline():
            self._begin()
            asked = self.connection.execute(sql.encode(), prepare=False)
            self.connection.execute("ROLLBACK")
        return tuple(asked.fetchall())

    def _begin(self) -> None:
        for statement in _BEGIN:
            self.connection.execute(statement.encode(), prepare=False)

    def _terminate(self, pid: int) -> None:
        with psycopg.connect(self.server.admin.dsn(), autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
