"""Where the engine is, as the `docker` command finds it: host, then context, then the sockets that are known.

Reads the context files itself: the SDK takes an unknown context for the local engine, and reads the
environment behind our back.  Layout: https://docs.docker.com/engine/manage-resources/contexts/
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dev_postgres_mcp.errors import EngineNotFound
from dev_postgres_mcp.parsing import hide_userinfo

DEFAULT_CONTEXT = "default"
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class DockerEnvironment:
    """What the environment says about Docker; settings fill it in, so that nothing here reads it."""

    home: Path
    docker_host: str = ""
    host: str = ""
    context: str = ""
    config_dir: Path | None = None
    tls_verify: bool = False
    cert_path: Path | None = None
    runtime_dir: Path | None = None
    windows: bool = False

    @property
    def config(self) -> Path:
        """Return Docker's configuration directory."""
        return self.config_dir or self.home / ".docker"


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Client certificate files of an engine; `verify` says whether the server's is checked."""

    ca: Path | None
    cert: Path | None
    key: Path | None
    verify: bool


@dataclass(frozen=True, kw_only=True)
class Address:
    """One place where an engine may answer, and who said so."""

    url: str
    source: str
    context: str = ""
    tls: Tls | None = None

    @property
    def socket(self) -> Path | None:
        """Return the path of a unix socket, None for other transports."""
        return Path(self.url.removeprefix("unix://")) if self.url.startswith("unix://") else None

    @property
    def host(self) -> str:
        """Return the host under which we reach what the engine publishes: a remote engine's loopback is its own."""
        parts = urlsplit(self.url)
        if parts.scheme not in {"tcp", "http", "https", "ssh"}:
            return LOOPBACK
        host = parts.hostname or LOOPBACK
        return LOOPBACK if host in {"localhost", "::1"} or host.startswith("127.") else host

    @property
    def cli_options(self) -> tuple[str, ...]:
        """Return the options with which the `docker` command reaches the same engine."""
        return ("--context", self.context) if self.context else ("--host", self.url)

    def __str__(self) -> str:
        """Show where and why, without a password that stands in the URL."""
        return f"{hide_userinfo(self.url)} ({self.source})"


def find_addresses(environment: DockerEnvironment) -> tuple[Address, ...]:
    """Return the places to try in order.  Only an unnamed engine has more than one place.

    Raises EngineNotFound for a context that does not exist or cannot be read.
    """
    if environment.docker_host:
        tls = _environment_tls(environment)
        return (Address(url=environment.docker_host, source="setting docker_host", tls=tls),)
    if environment.host:
        return (Address(url=environment.host, source="DOCKER_HOST", tls=_environment_tls(environment)),)
    context, source = _active_context(environment)
    if context != DEFAULT_CONTEXT:
        return (_load_context(environment, context, source),)
    return _known_addresses(environment)


def _active_context(environment: DockerEnvironment) -> tuple[str, str]:
    if environment.context:
        return environment.context, "DOCKER_CONTEXT"
    path = environment.config / "config.json"
    current = _read_json(path).get("currentContext") if path.is_file() else None
    return (
        (current, f"currentContext of {path}")
        if isinstance(current, str) and current
        else (DEFAULT_CONTEXT, "")
    )


def _load_context(environment: DockerEnvironment, name: str, source: str) -> Address:
    digest = hashlib.sha256(name.encode()).hexdigest()
    path = environment.config / "contexts" / "meta" / digest / "meta.json"
    if not path.is_file():
        raise EngineNotFound(
            f"the Docker context {name!r} ({source}) does not exist: no {path}",
            hint="`docker context ls` shows what there is; `docker context use default` goes back",
        )
    endpoints = _read_json(path).get("Endpoints")
    docker = endpoints.get("docker") if isinstance(endpoints, dict) else None
    host = docker.get("Host") if isinstance(docker, dict) else None
    if not (isinstance(docker, dict) and isinstance(host, str) and host):
        raise EngineNotFound(
            f"the Docker context {name!r} ({source}) names no engine: {path}",
            hint="repair it with `docker context update`, or choose another context",
        )
    files = environment.config / "contexts" / "tls" / digest / "docker"
    tls = _tls_files(files, verify=not docker.get("SkipTLSVerify")) if files.is_dir() else None
    return Address(url=host, source=f"context {name}", context=name, tls=tls)


def _known_addresses(environment: DockerEnvironment) -> tuple[Address, ...]:
    if environment.windows:
        return (Address(url="npipe:////./pipe/docker_engine", source="default pipe"),)
    home, run = environment.home, environment.runtime_dir
    known = [
        ("default socket", Path("/var/run/docker.sock")),
        ("rootless Docker", run / "docker.sock" if run else None),
        ("Docker Desktop", home / ".docker/run/docker.sock"),
        ("Docker Desktop", home / ".docker/desktop/docker.sock"),
        ("colima", home / ".colima/default/docker.sock"),
        ("colima", home / ".config/colima/default/docker.sock"),
        ("OrbStack", home / ".orbstack/run/docker.sock"),
        ("Rancher Desktop", home / ".rd/docker.sock"),
        ("rootless podman", run / "podman/podman.sock" if run else None),
        ("podman", Path("/run/podman/podman.sock")),
        ("podman machine", home / ".local/share/containers/podman/machine/podman.sock"),
    ]
    return tuple(Address(url=f"unix://{path}", source=source) for source, path in known if path)


def _environment_tls(environment: DockerEnvironment) -> Tls | None:
    if not environment.tls_verify:
        return None
    return _tls_files(environment.cert_path or environment.config, verify=True)


def _tls_files(folder: Path, *, verify: bool) -> Tls:
    def present(name: str) -> Path | None:
        return folder / name if (folder / name).is_file() else None

    return Tls(ca=present("ca.pem"), cert=present("cert.pem"), key=present("key.pem"), verify=verify)


def _read_json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise EngineNotFound(f"{path} cannot be read: {exc}", hint="repair or remove that file") from exc
    return content if isinstance(content, dict) else {}
