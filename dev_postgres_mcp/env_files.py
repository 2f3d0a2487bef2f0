"""Variables in a `.env` file: some are set, and everything else stays as it is, byte for byte.

What is written reads the same for python-dotenv and for a shell (`. ./.env`).  Both know plain words, single quotes
without escapes, and double quotes in which a backslash stands before backslashes and double quotes; a few values
fit into neither, and are refused.
"""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dotenv.parser import Binding

_MARK = "\ufeff"
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+=,-]+", re.ASCII)
_NAME = re.compile(r"(\s*(?:export[^\S\r\n]+)?)(?:'[^']+'|[^=#\s]+)")
_VALUE = re.compile(
    r"""[^\S\r\n]*=(?:[^\S\r\n]*(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|(?:(?!\s+\#)[^\r\n])*)""", re.DOTALL
)
"""What stands between a name and a comment or the end of the line, as python-dotenv reads it."""
_OTHERS_READ = 0o044


def set_variables(text: str, variables: Mapping[str, str]) -> str:
    """Return the text of a file with `variables` in it: in place where they are there, else at the end.

    Raises InvalidInput for a value that cannot be written, and for a text that does not read as it is meant.
    """
    mark, body = (_MARK, text.removeprefix(_MARK)) if text.startswith(_MARK) else ("", text)
    written = {name: _quote(name, value) for name, value in variables.items()}
    parts = [(binding.key, binding.original.string) for binding in _parse(body)]
    changed = "".join(
        _replace(part, name, written[name]) if name in written else part for name, part in parts
    )
    missing = [name for name in written if name not in dict(parts)]
    newline = "\r\n" if "\r\n" in body else "\n"
    if missing and changed and not changed.endswith(("\n", "\r")):
        changed += newline
    changed += "".join(f"{name}={written[name]}{newline}" for name in missing)
    if _read(changed) != _read(body) | dict(variables):
        raise InvalidInput(
            "the file does not read line by line", hint="look for a quote that is not closed, and close it"
        )
    return mark + changed


def write_variables(file: Path, variables: Mapping[str, str]) -> None:
    """Set `variables` in a file, whole and at once; a new one is for its owner only.  Raises InvalidInput."""
    target = file.resolve()
    try:
        there = target.stat() if target.exists() else None
        if there is not None and not target.is_file():
            raise InvalidInput(f"{file} is no regular file", hint="name a file to write the variables to")
        text = target.read_bytes().decode("utf-8", "surrogateescape") if there is not None else ""
        _exchange(target, set_variables(text, variables).encode("utf-8", "surrogateescape"), there)
    except OSError as exc:
        raise InvalidInput(
            f"{file} cannot be written: {exc.strerror}", hint="name a file in a directory of yours"
        ) from exc


def is_readable_by_others(file: Path) -> bool:
    """Tell whether other users of this machine may read a file; where modes do not say, they may not."""
    return os.name == "posix" and bool(file.stat().st_mode & _OTHERS_READ)


def _quote(name: str, value: str) -> str:
    """Return the value as both readers take it; python-dotenv replaces `${...}` whatever the quotes."""
    if not {"\r", "\0"} & set(value) and "${" not in value:
        if _PLAIN.fullmatch(value):
            return value
        if not {"'", "\\"} & set(value):
            return f"'{value}'"
        if not {"$", "`"} & set(value):
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
    raise InvalidInput(
        f"the value of {name} cannot be written so that dotenv and `sh` read the same",
        hint="`postgres get --format env` quotes anything for a shell; or choose names and a password without $ ` ' \\",
    )


def _replace(part: str, name: str, value: str) -> str:
    """Return an assignment with another value; what stands before it and a comment behind it stay."""
    head = _NAME.match(part)
    if head is None:
        return part
    old = _VALUE.match(part, head.end())
    rest = part[old.end() if old else head.end() :]
    # Without a space a shell takes the comment for a part of the value.
    return f"{head[1]}{name}={value}{' ' if rest.startswith('#') else ''}{rest}"


def _parse(text: str) -> Iterator[Binding]:
    """Yield the assignments and what is none, with a text each; the texts make up the whole."""
    from dotenv.parser import parse_stream

    return parse_stream(StringIO(text))


def _read(text: str) -> dict[str, str | None]:
    return {binding.key: binding.value for binding in _parse(text) if binding.key is not None}


def _exchange(target: Path, content: bytes, there: os.stat_result | None) -> None:
    """Put a new file in the place of the old one, with its mode and owner."""
    number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    new = Path(name)
    try:
        with os.fdopen(number, "wb") as stream:
            stream.write(content)
        if there is not None:
            new.chmod(there.st_mode & 0o7777)
            _give(new, there)
        new.replace(target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _give(file: Path, there: os.stat_result) -> None:
    """Leave a file to its owner, when it is not who writes: only root may."""
    if os.name == "posix" and (there.st_uid, there.st_gid) != (os.geteuid(), os.getegid()):
        with suppress(PermissionError):
            os.chown(file, there.st_uid, there.st_gid)
