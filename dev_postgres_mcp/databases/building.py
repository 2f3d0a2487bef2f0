"""Runs the sources of a template on a database, one after the other; the first that fails ends it."""

from __future__ import annotations

import importlib
from functools import reduce
from math import inf
from typing import TYPE_CHECKING

from dev_postgres_mcp.databases.sources import Source, SourceKind
from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import InvalidInput, TemplateFailed
from dev_postgres_mcp.sql.splitting import parse_script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from dev_postgres_mcp.children import ShellEnd
    from dev_postgres_mcp.databases.database import Database
    from dev_postgres_mcp.sql.script_base import ScriptSql

    RunInShell = Callable[[str, Mapping[str, str], Path], ShellEnd]

_OUTPUT_LINES = 30


class Builder:
    """Builds templates: SQL through `sql`, commands through `run_in_shell` with our variables on top."""

    def __init__(self, sql: ScriptSql, run_in_shell: RunInShell) -> None:
        """Work through these."""
        self._sql = sql
        self._run_in_shell = run_in_shell

    def build(self, sources: Sequence[Source], database: Database, *, directory: Path) -> None:
        """Run all sources, commands in `directory`; raises TemplateFailed, and what a callable raises."""
        for source in sources:
            if source.kind is SourceKind.SQL:
                for file in source.files:
                    self._run_file(file, database)
            elif source.kind is SourceKind.COMMAND:
                self._run_command(source.text, database, directory)
            else:
                _load(source)(database)

    def _run_file(self, file: Path, database: Database) -> None:
        try:
            script = parse_script(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as exc:
            raise TemplateFailed(f"{file} cannot be read as UTF-8 text", hint="name an SQL script") from exc
        except InvalidInput as exc:
            hint = f'{exc.hint}; or let psql run it: cmd:psql -v ON_ERROR_STOP=1 "$DATABASE_URL" -f FILE'
            raise TemplateFailed(f"{file}: {exc.message}", hint=hint) from exc
        failure = self._sql.run(database.conninfo, script, deadline=Deadline(inf)).failure
        if failure is not None:
            place = f"{file}:{failure.position.line}:{failure.position.column}"
            detail = f" ({failure.detail})" if failure.detail else ""
            raise TemplateFailed(
                f"{place}: {failure.message}{detail}", hint=failure.hint or "fix the script and run again"
            )

    def _run_command(self, command: str, database: Database, directory: Path) -> None:
        try:
            end = self._run_in_shell(command, database.environment(), directory)
        except OSError as exc:
            raise TemplateFailed(f"the template command cannot be run: {command}: {exc.strerror}") from exc
        if end.code:
            password = database.conninfo.password.reveal()
            tail = "\n".join(end.output.splitlines()[-_OUTPUT_LINES:]).replace(password, "***")
            raise TemplateFailed(
                f"the template command ended with exit code {end.code}: {command}\n{tail}".rstrip(),
                hint="it finds the database in DATABASE_URL and the PG* variables",
            )


def _load(source: Source) -> Callable[[Database], object]:
    """Return the callable; what its module raises while it is imported is its own to explain."""
    module, _, path = source.text.partition(":")
    try:
        found = reduce(getattr, path.split("."), importlib.import_module(module))
    except AttributeError as exc:
        raise TemplateFailed(
            f"the template {source.text!r} is not there: {exc}", hint="name a function of that module"
        ) from exc
    if not callable(found):
        raise TemplateFailed(f"the template {source.text!r} is no callable", hint="name a function")
    return found
