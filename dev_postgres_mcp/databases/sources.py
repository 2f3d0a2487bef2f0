"""What a template is built from: SQL files, shell commands, callables; and when two of them are the same.

Standard library only: these are read from options before it is known whether any test wants a database.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

COMMAND_PREFIX = "cmd:"
FORMAT = "1"
"""Of what this version makes of the same inputs; another one does not use its templates."""
_CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_SKIPPED = {"__pycache__"}


class SourceKind(StrEnum):
    """How a source is run."""

    SQL = "sql"
    COMMAND = "command"
    CALLABLE = "callable"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One thing that is run on an empty database to make a template of it.

    `text` is the command or `module:callable`, and for SQL what was written; `files` are the SQL files in their
    order.
    """

    kind: SourceKind
    text: str
    files: tuple[Path, ...] = ()

    @property
    def reads_unknown(self) -> bool:
        """Tell whether it may read what nobody has named, so that only its user knows when it has changed."""
        return self.kind is not SourceKind.SQL


def parse_source(text: str, *, base: Path) -> Source:
    """Return what a text names: `cmd:COMMAND`, an SQL file, a directory of them, or `module:callable`.

    Paths are relative to `base`.  Raises InvalidInput for anything else.
    """
    if text.startswith(COMMAND_PREFIX):
        return _parse_command(text)
    path = base / text
    if path.is_dir():
        return Source(kind=SourceKind.SQL, text=text, files=_find_migrations(path))
    if path.is_file():
        return Source(kind=SourceKind.SQL, text=text, files=(path,))
    if _CALLABLE.fullmatch(text):
        return Source(kind=SourceKind.CALLABLE, text=text)
    raise InvalidInput(
        f"the template {text!r} is nothing that can be run: there is no such file below {base}",
        hint="name an .sql file, a directory of them, `module:callable`, or `cmd:` and a shell command",
    )


def find_inputs(patterns: Iterable[str], *, base: Path) -> tuple[Path, ...]:
    """Return the files that paths and glob patterns name, directories opened; raises InvalidInput for none."""
    found: set[Path] = set()
    for pattern in patterns:
        path = base / pattern
        matches = (
            [path] if path.exists() else list(base.glob(pattern)) if not Path(pattern).is_absolute() else []
        )
        files = {file for match in matches for file in _open_directory(match)}
        if not files:
            raise InvalidInput(
                f"the template input {pattern!r} matches no file below {base}",
                hint="name a file, a directory, or a pattern such as migrations/**/*.py",
            )
        found |= files
    return tuple(sorted(found))


def fingerprint(
    sources: Iterable[Source], inputs: Iterable[Path], *, base: Path, about: Iterable[str]
) -> str:
    """Return what stands for everything that a template depends on, as 16 hexadecimal characters.

    It does not depend on where `base` is, so that two checkouts of the same content share a template.
    """
    digest = sha256()
    for part in _parts(sources, inputs, base, about):
        digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()[:16]


def _parts(
    sources: Iterable[Source], inputs: Iterable[Path], base: Path, about: Iterable[str]
) -> Iterator[bytes]:
    yield FORMAT.encode()
    yield from (text.encode() for text in about)
    for source in sources:
        yield from (b"source", source.kind.value.encode(), source.text.encode())
        for file in source.files:
            yield from (file.name.encode(), _read(file))
        if source.kind is SourceKind.CALLABLE:
            yield _read(_find_module_file(source))
    for file in inputs:
        yield from (b"input", _relative(file, base).encode(), _read(file))


def _parse_command(text: str) -> Source:
    command = text.removeprefix(COMMAND_PREFIX).strip()
    if not command:
        raise InvalidInput("the template command is empty", hint="write it as `cmd:alembic upgrade head`")
    return Source(kind=SourceKind.COMMAND, text=command)


def _find_migrations(directory: Path) -> tuple[Path, ...]:
    files = tuple(sorted(directory.glob("*.sql"), key=lambda file: file.name))
    if not files:
        raise InvalidInput(
            f"the template directory {directory} holds no .sql file",
            hint="its files are run in the order of their names; for a migration tool use `cmd:`",
        )
    return files


def _find_module_file(source: Source) -> Path:
    """Return the source file of a callable's module; raises InvalidInput when there is none."""
    module = source.text.partition(":")[0]
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError) as exc:
        raise _no_module(source.text, str(exc)) from exc
    if spec is None or not spec.has_location or spec.origin is None:
        raise _no_module(source.text, f"there is no module {module!r} with a source file")
    return Path(spec.origin)


def _no_module(text: str, reason: str) -> InvalidInput:
    return InvalidInput(
        f"the template {text!r} cannot be imported: {reason}",
        hint="is its directory on sys.path? pytest puts there what the ini option `pythonpath` names",
    )


def _open_directory(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for file in path.rglob("*") if path.is_dir() else ():
        if file.is_file() and not _SKIPPED & set(file.parts):
            yield file


def _relative(file: Path, base: Path) -> str:
    return file.relative_to(base).as_posix() if file.is_relative_to(base) else file.as_posix()


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as exc:
        raise InvalidInput(
            f"the template input {file} cannot be read: {exc.strerror}", hint="fix the path, or leave it out"
        ) from exc
