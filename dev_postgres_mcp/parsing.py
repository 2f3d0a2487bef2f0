"""Texts that people write, read into values: sizes, ports, names, pairs.  Pure; refuses with InvalidInput."""

from __future__ import annotations

import re
import secrets
import unicodedata
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable

ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""32 characters without the look-alikes 0, 1, l and o (DESIGN: ids)."""
ID_LENGTH = 12
PASSWORD_BYTES = 24
"""192 bits, 32 characters of base64url."""
MAX_NAME_BYTES = 63
"""PostgreSQL's NAMEDATALEN - 1: a longer name would be cut silently (manual, 4.1.1)."""
MAX_PASSWORD_BYTES = 1000
MIN_MEMORY = 64 * 1024**2
"""Below this PostgreSQL is killed for want of memory while it initialises its cluster."""

MAX_DURATION = 10 * 365 * 86_400
"""Seconds; within what calendars and shells count."""
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])", re.ASCII)
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
MAX_SIZE = 2**62
"""Bytes; engines count in signed 64-bit numbers."""

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", re.IGNORECASE)
_FACTOR = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)*")
MAX_IMAGE_LENGTH = 512
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::\d{{1,5}})?/)?{_PART}(?:/{_PART})*(?::\w[\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?",
    re.ASCII,
)
_OURS = {
    "port",
    "listen_addresses",
    "data_directory",
    "config_file",
    "hba_file",
    "ident_file",
    "external_pid_file",
    "unix_socket_directories",
}


def new_id() -> str:
    """Return a fresh instance id: 12 characters, 60 bits."""
    return "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))


def new_password() -> str:
    """Return a fresh password that needs no quoting in a URI or a shell."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def parse_version(text: str) -> str:
    """Return a supported major version."""
    from dev_postgres_mcp.model import SUPPORTED_VERSIONS

    if text not in SUPPORTED_VERSIONS:
        known = ", ".join(SUPPORTED_VERSIONS)
        raise InvalidInput(
            f"PostgreSQL version {shorten(text)!r} is not offered",
            hint=f"choose one of {known}, or name an image (postgres:17.5, pgvector/pgvector:pg17, ...)",
        )
    return text


def parse_size(text: str, *, what: str = "size") -> int:
    """Return bytes for texts such as `512m`, `1.5g`, `512MiB`, `268435456` (powers of 1024)."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"{what} {shorten(text)!r} is not a size", hint="write it as 512m or 2g")
    number, unit = match.groups()
    size = float(number) * _FACTOR[unit.lower()]
    if size > MAX_SIZE:
        raise InvalidInput(
            f"{what} {shorten(text)!r} is more than any machine has", hint="write it as 512m or 2g"
        )
    return int(size)


def parse_duration(text: str, *, what: str = "duration") -> float | None:
    """Return seconds for texts such as `90s`, `15m`, `8h`, `2d`; None for `none`."""
    plain = text.strip().lower()
    if plain == "none":
        return None
    match = _DURATION.fullmatch(plain)
    seconds = float(match[1]) * _UNIT_SECONDS[match[2]] if match else 0.0
    if not 1 <= seconds <= MAX_DURATION:
        raise InvalidInput(
            f"{what} {shorten(text)!r} is not a duration of a second to ten years",
            hint="write it as 90s, 15m, 8h, 2d or none",
        )
    return seconds


def render_duration(seconds: float | None) -> str:
    """Return a duration in the form that `parse_duration` reads."""
    if seconds is None:
        return "none"
    unit = next(
        unit for unit, length in reversed(_UNIT_SECONDS.items()) if seconds % length == 0 or unit == "s"
    )
    return f"{seconds / _UNIT_SECONDS[unit]:.12g}{unit}"


def render_size(size: int) -> str:
    """Return bytes as people read them: `512 MB`, `1.5 GB`."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1024:  # noqa: PLR2004 - the step between units
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TB"


def parse_memory(text: str) -> int:
    """Return an instance's memory limit in bytes."""
    size = parse_size(text, what="memory")
    if size < MIN_MEMORY:
        raise InvalidInput(
            f"memory {shorten(text)} is too little for PostgreSQL",
            hint=f"give it at least {render_size(MIN_MEMORY)}; the default is 512 MB",
        )
    return size


def parse_ports(text: str) -> range:
    """Return the ports of `first-last`, both included."""
    match = re.fullmatch(r"\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?", text)
    if match is None:
        raise InvalidInput(f"ports {shorten(text)!r} is not a range", hint="write it as 15432-25432")
    first, last = int(match[1]), int(match[2] or match[1])
    if first > last:
        raise InvalidInput(f"port range {first}-{last} is reversed", hint=f"write it as {last}-{first}")
    if first < 1 or last > 65535:  # noqa: PLR2004 - TCP's own bounds
        raise InvalidInput(f"port range {first}-{last} leaves 1-65535", hint="write it as 15432-25432")
    return range(first, last + 1)


def parse_pairs(items: Iterable[str], *, what: str) -> dict[str, str]:
    """Return `name=value` texts as a mapping."""
    pairs = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not (name and equals):
            raise InvalidInput(
                f"{what} {shorten(item)!r} has no `=`", hint=f"write each {what} as name=value"
            )
        pairs[name] = value
    return pairs


def check_seed(text: str) -> str:
    """Return the name of a seed or snapshot: what a person types and a list shows."""
    if not _LABEL.fullmatch(text):
        raise InvalidInput(
            f"name {shorten(text)!r} cannot be given",
            hint="use up to 63 letters, digits, `.`, `_` and `-`, beginning with a letter or digit",
        )
    return text


def check_name(text: str, *, what: str) -> str:
    """Return a database or role name that PostgreSQL takes, whatever it holds (manual, 4.1.1)."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if not text:
        raise InvalidInput(f"{what} name is empty", hint="leave it out for the default, postgres")
    if "\0" in text:
        raise InvalidInput(f"{what} name holds a NUL character", hint="PostgreSQL has no such names")
    if size > MAX_NAME_BYTES:
        raise InvalidInput(
            f"{what} name {shorten(text)!r} is {size} bytes long",
            hint=f"PostgreSQL keeps {MAX_NAME_BYTES} bytes of a name; shorten it",
        )
    if not _is_unicode(text):
        raise InvalidInput(f"{what} name is not valid Unicode", hint="use text that UTF-8 can hold")
    return text


def check_username(text: str) -> str:
    """Return a role name; `pg_*`, `public` and `none` are PostgreSQL's own (manual, CREATE ROLE)."""
    check_name(text, what="user")
    if text.startswith("pg_") or text in {"public", "none"}:
        raise InvalidInput(f"user name {text!r} is reserved by PostgreSQL", hint="choose another name")
    return text


def check_password(text: str) -> str:
    """Return a password that survives the image's files and PostgreSQL's login."""
    if not text:
        raise InvalidInput("password is empty", hint="leave it out and one is generated")
    if any(char in text for char in "\0\r\n"):
        raise InvalidInput("password holds a NUL or a line break", hint="use one line of text")
    if not _is_unicode(text):
        raise InvalidInput("password is not valid Unicode", hint="use text that UTF-8 can hold")
    if len(text.encode()) > MAX_PASSWORD_BYTES:
        raise InvalidInput(f"password is longer than {MAX_PASSWORD_BYTES} bytes", hint="shorten it")
    return text


def check_display_name(text: str) -> str:
    """Return a display name: up to 63 bytes that a terminal can show."""
    check_name(text, what="instance")
    if any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in text) or text != text.strip():
        raise InvalidInput(
            f"instance name {shorten(text)!r} has control characters or outer spaces",
            hint="use a name such as shop-tests",
        )
    return text


def check_settings(settings: dict[str, str]) -> dict[str, str]:
    """Return PostgreSQL settings that may be given with `-c name=value`, names in lower case."""
    for name, value in settings.items():
        if _SETTING.fullmatch(name) is None:
            raise InvalidInput(f"{shorten(name)!r} is not the name of a PostgreSQL setting")
        if name.lower() in _OURS:
            raise InvalidInput(
                f"the setting {name} belongs to dev-postgres-mcp",
                hint="the host's port is chosen from the setting `ports`; inside, PostgreSQL stays on 5432",
            )
        if "\0" in value:
            raise InvalidInput(f"the value of the setting {name} holds a NUL character")
    return {name.lower(): value for name, value in settings.items()}


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def hide_userinfo(text: str) -> str:
    """Strike out the password of a URL such as tcp://user:password@host."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", text)


def check_image(text: str) -> str:
    """Return an image reference (grammar: distribution/reference), which the SDK pastes into a URL."""
    if len(text) > MAX_IMAGE_LENGTH or _IMAGE.fullmatch(text) is None:
        raise InvalidInput(
            f"{shorten(text)!r} is no image reference",
            hint="write it as postgres:17 or pgvector/pgvector:pg17, the name in lower case",
        )
    return text


def shorten(text: str, limit: int = 60) -> str:
    """Return the text, cut where an error message would drown in it."""
    return text if len(text) <= limit else f"{text[:limit]}..."
