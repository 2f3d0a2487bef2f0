"""What a caller names as `init`, found on this machine before anything is begun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import InvalidInput
from dev_postgres_mcp.model import InitFile
from dev_postgres_mcp.parsing import shorten

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".sql", ".sql.gz", ".sql.xz", ".sql.zst", ".sh")
"""What the official image runs from its init directory, in name order."""


def find_init_files(init: Path | None) -> tuple[InitFile, ...]:
    """Return the files of an init path; the names of a directory's are relative to it.

    Raises InvalidInput when there is nothing there that the image would run.
    """
    if init is None:
        return ()
    try:
        return _find(init)
    except OSError as exc:
        raise InvalidInput(
            f"init {shorten(str(init))} cannot be read: {exc.strerror}",
            hint="init takes a path of this machine; run SQL over the dsn once the instance is there",
        ) from exc


def _find(init: Path) -> tuple[InitFile, ...]:
    if init.is_file():
        if not init.name.endswith(SUFFIXES):
            raise InvalidInput(
                f"init {init} is no init script", hint=f"the image runs {', '.join(SUFFIXES)} files"
            )
        return (InitFile(path=init, name=init.name),)
    if not init.is_dir():
        raise InvalidInput(
            f"init {shorten(str(init))} does not exist",
            hint="init takes the path of a .sql, .sql.gz or .sh file, or of a directory of them",
        )
    files = sorted(path for path in init.rglob("*") if path.is_file())
    found = tuple(InitFile(path=path, name=path.relative_to(init).as_posix()) for path in files)
    if not any(file.name.endswith(SUFFIXES) and "/" not in file.name for file in found):
        raise InvalidInput(f"init directory {init} holds no .sql, .sql.gz or .sh file at its top level")
    return found
