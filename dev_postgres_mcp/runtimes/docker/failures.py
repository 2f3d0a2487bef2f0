"""The engine's words in ours: one table from what engines write to what it means.

Engines share no error codes for these, and each version words them anew; tests hold the known wordings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import requests.exceptions

from dev_postgres_mcp.errors import (
    DevPostgresError,
    DiskFull,
    EngineFailed,
    ImageNotFound,
    ImageRateLimited,
    ImageUnauthorized,
    ImageUnavailable,
    ImageUnsuitable,
    InstanceNotFound,
    InvalidInput,
    PortConflict,
    RegistryUnreachable,
)

if TYPE_CHECKING:
    from docker.errors import APIError


def _any(*patterns: str) -> str:
    return "|".join(patterns)


_API_ERRORS: tuple[tuple[str, type[DevPostgresError], str], ...] = (
    (
        "cannot assign requested address",
        InvalidInput,
        "the setting `publish_host` has to be an address of the engine's machine",
    ),
    ("privileged port", InvalidInput, "choose a range above 1024 with the setting `ports`"),
    ("invalid reference format|must be lowercase", InvalidInput, "write the image as postgres:17"),
    (r"no such container|marked for removal|rwlayer .* nil", InstanceNotFound, ""),
    (
        r"port is already allocated|address already in use|ports are not available|addport",
        PortConflict,
        "",
    ),
    (
        r"failed to bind (host )?port|rootless(port|kit).*bind|forbidden by its access permissions",
        PortConflict,
        "",
    ),
    (r"no space left on device|disk quota exceeded", DiskFull, ""),
    (
        # What Engine 20.10 says when the disk has no room for the first directory of a layer.
        r"(chown|mkdir) \S*overlay\S*: no such file or directory",
        DiskFull,
        "the engine's disk is most likely full: make room (`docker system df`), then try again",
    ),
    (r"range of cpus|minimum memory limit|invalid cpu|nano ?cpus", InvalidInput, ""),
    (r"unable to find user|no matching entries in passwd|no such user", ImageUnsuitable, ""),
    (
        # Without /bin/sh nothing of ours runs in an image.
        r"executable file (\S+ )?not found|no command specified|exec format error|stat /bin/sh: no such file",
        ImageUnsuitable,
        "",
    ),
)

_PULL_ERRORS: tuple[tuple[str, type[ImageUnavailable], str], ...] = (
    (
        r"toomanyrequests|too many requests|rate limit|\b429\b",
        ImageRateLimited,
        "wait and try again, or log in with `docker login` for a higher limit",
    ),
    (
        _any(
            "pull access denied",
            "repository (does not exist|name not known)",
            "(manifest|name) unknown",
            "not found",
            "no such image",
            "unknown blob",
            r"\b404\b",
        ),
        ImageNotFound,
        "check the name and tag; a private image needs `docker login` first",
    ),
    (
        _any(
            "unauthorized",
            "authentication required",
            "no basic auth credentials",
            "denied",
            "forbidden",
            r"\b40[13]\b",
        ),
        ImageUnauthorized,
        "log in with `docker login`, then try again",
    ),
    (r"no space left on device", ImageUnavailable, "make room on the engine's disk (`docker system prune`)"),
    (
        _any(
            "dial tcp|no such host|lookup|temporary failure|server misbehaving",
            "timeout|deadline exceeded|connection (refused|reset)|network is unreachable|eof",
            r"tls handshake|proxyconnect|unmarshalling|invalid character|\b5\d\d\b",
        ),
        RegistryUnreachable,
        "check the engine's network or proxy, or bring the image once with `docker pull` or `docker load`",
    ),
)


_URL = re.compile(r"https?://[^\s\"]+")


def translate_api_error(exc: APIError, doing: str) -> DevPostgresError:
    """Return our error for what the engine answered while `doing`."""
    text = str(exc.explanation or exc)
    for pattern, kind, hint in _API_ERRORS:
        if re.search(pattern, text, re.IGNORECASE):
            return kind(f"the engine refused while {doing}: {text}", hint=hint)
    return EngineFailed(
        f"the engine failed while {doing}: {text}",
        hint="`dev-postgres-mcp doctor` looks at the engine; its own log says more",
    )


def explain_pull(ref: str, text: str) -> ImageUnavailable:
    """Return why an image could not be pulled, from the registry's or the engine's words."""
    words = _URL.sub("", text).replace(ref, "")
    for pattern, kind, hint in _PULL_ERRORS:
        if re.search(pattern, words, re.IGNORECASE):
            return kind(f"could not pull {ref}: {text}", hint=hint)
    return ImageUnavailable(f"could not pull {ref}: {text}", hint="try `docker pull` to see what it says")


def tell_reason(exc: Exception) -> str:
    """Return the shortest text that says why an engine did not answer."""
    cause = find_os_error(exc)
    if cause is not None and cause.strerror:
        return cause.strerror
    return "no answer in time" if isinstance(exc, requests.exceptions.Timeout) else type(exc).__name__


def find_os_error(exc: BaseException | None) -> OSError | None:
    """Return the operating system's error at the root of a chain of library errors."""
    seen: set[int] = set()
    pending = [exc]
    found: OSError | None = None
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno is not None:
            found = current
        pending += [current.__cause__, current.__context__]
        pending += [arg for arg in current.args if isinstance(arg, BaseException)]
    return found
