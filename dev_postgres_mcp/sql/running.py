"""Runs a script statement by statement, as a migration tool or psql would, and says what happened.

All statements are one transaction unless the script cannot be one: then each is committed on its own.  There,
a BEGIN and COMMIT of ours around one plain statement changes nothing but that its locks can be seen.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import TransactionStatus

from dev_postgres_mcp.rehearsals import Run, StatementFailure, StatementRun
from dev_postgres_mcp.sql.inspection import PROMPT_COUNTERS
from dev_postgres_mcp.sql.sessions import ask, check_time, open_session
from dev_postgres_mcp.sql.transactions import is_plain
from dev_postgres_mcp.sql.watching import watching

if TYPE_CHECKING:
    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo
    from dev_postgres_mcp.rehearsals import Script, Statement
    from dev_postgres_mcp.sql.watching import Watcher

_MOST_NOTICES = 20
_REFUSED_IN_BLOCK = "25001"


def run_script(conninfo: Conninfo, script: Script, *, deadline: Deadline) -> Run:
    """Run all statements up to the first that fails; raises as `ScriptSql` says.

    When it raises, the session is gone and what was not committed is rolled back.
    """
    where = _Where(script)
    with open_session(conninfo, deadline, where.doing) as connection:
        pid = connection.info.backend_pid
        with watching(conninfo, pid, deadline) as watcher:
            return _Runner(connection, watcher, where, deadline).run()


class _Where:
    """Which statement of a script is running, in words for an error."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.statement: Statement | None = None

    def doing(self) -> str:
        if self.statement is None:
            return "running the script"
        number, total = self.statement.index + 1, len(self.script.statements)
        return f"running statement {number} of {total} of the script (line {self.statement.start.line})"


class _Stopped(Exception):
    """The script failed; carries what to say about it."""

    def __init__(self, failure: StatementFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class _Runner:
    """One run over one connection in autocommit."""

    def __init__(
        self, connection: psycopg.Connection[Any], watcher: Watcher, where: _Where, deadline: Deadline
    ) -> None:
        self._connection = connection
        self._watcher = watcher
        self._where = where
        self._script = where.script
        self._deadline = deadline
        self._seconds = 0.0
        self._done: list[StatementRun] = []
        self._notices: list[str] = []

    def run(self) -> Run:
        """Run the script and leave no transaction open."""
        self._connection.add_notice_handler(self._keep_notice)
        failure = None
        try:
            self._run_as_one() if self._script.in_transaction else self._run_apart()
        except _Stopped as stop:
            failure = stop.failure
        self._leave_transaction()
        self._flush_counters()
        return Run(
            seconds=self._seconds,
            statements=tuple(self._done),
            locks=self._watcher.held(),
            failure=failure,
        )

    def _run_as_one(self) -> None:
        if not self._script.statements:
            return
        self._execute("BEGIN", None)
        for statement in self._script.statements:
            self._run_statement(statement)
        self._commit(None)

    def _run_apart(self) -> None:
        for statement in self._script.statements:
            if self._idle() and is_plain(statement):
                self._run_in_block(statement)
            else:
                self._run_statement(statement)
        if not self._idle():
            raise _Stopped(_unfinished(self._script))

    def _run_in_block(self, statement: Statement) -> None:
        """Run a statement in a transaction of its own; the few kinds that refuse one run without."""
        self._execute("BEGIN", statement)
        try:
            self._run_statement(statement)
        except _Stopped as stop:
            if stop.failure.sqlstate != _REFUSED_IN_BLOCK:
                raise
            self._leave_transaction()
            self._run_statement(statement)
        else:
            self._commit(statement)

    def _run_statement(self, statement: Statement) -> None:
        self._where.statement = statement
        self._watcher.begin_statement(statement.index)
        self._notices = []
        before = self._seconds
        tag = self._execute(statement.text, statement)
        self._done.append(
            StatementRun(
                index=statement.index,
                line=statement.start.line,
                first_line=statement.first_line(),
                seconds=self._seconds - before,
                tag=tag,
                notices=tuple(self._notices),
            )
        )
        if self._idle():
            self._watcher.end_transaction()
        else:
            self._watcher.look()

    def _commit(self, statement: Statement | None) -> None:
        self._watcher.look(now=True)
        self._execute("COMMIT", statement)
        self._watcher.end_transaction()

    def _execute(self, text: str, statement: Statement | None) -> str:
        """Return the command tag; raises _Stopped for a failure of the script, else what `check_time` raises."""
        check_time(self._deadline, self._where.doing())
        started = time.perf_counter()
        try:
            tag = self._connection.execute(text.encode(), prepare=False).statusmessage
        except psycopg.Error as exc:
            self._watcher.end_transaction()
            check_time(self._deadline, self._where.doing())
            raise _Stopped(_describe(exc, self._script, statement, text)) from exc
        finally:
            self._seconds += time.perf_counter() - started
        return tag or ""

    def _leave_transaction(self) -> None:
        if not self._idle():
            with suppress(psycopg.Error):
                self._connection.execute(b"ROLLBACK", prepare=False)
            self._watcher.end_transaction()

    def _flush_counters(self) -> None:
        if self._connection.info.server_version >= PROMPT_COUNTERS:
            with suppress(psycopg.Error):
                ask(self._connection, "flush_statistics")

    def _idle(self) -> bool:
        return self._connection.info.transaction_status == TransactionStatus.IDLE

    def _keep_notice(self, notice: psycopg.errors.Diagnostic) -> None:
        if len(self._notices) < _MOST_NOTICES:
            self._notices.append(f"{notice.severity}: {notice.message_primary}")


def _describe(exc: psycopg.Error, script: Script, statement: Statement | None, text: str) -> StatementFailure:
    """Return the server's words with their place in the whole script, the statement's own when it says none."""
    diag = exc.diag
    offset = statement.start.offset if statement else len(script.text)
    if statement and text == statement.text and diag.statement_position:
        offset += int(diag.statement_position) - 1
    lost = str(exc).strip().partition("\n")[0] or type(exc).__name__
    return StatementFailure(
        index=statement.index if statement else None,
        position=script.position(offset),
        sqlstate=exc.sqlstate or "",
        message=diag.message_primary or lost,
        detail=diag.message_detail or "",
        hint=diag.message_hint or "",
        context=diag.context or "",
    )


def _unfinished(script: Script) -> StatementFailure:
    return StatementFailure(
        index=None,
        position=script.position(len(script.text)),
        sqlstate="",
        message="the script ends inside a transaction: what it did since its last BEGIN is rolled back",
        hint="add a COMMIT at the end",
    )
