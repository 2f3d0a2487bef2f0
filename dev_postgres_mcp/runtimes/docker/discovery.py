"""From the places where an engine may be to the client of one that answers, negotiated; or why there is none."""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import docker
import docker.errors
import requests
import requests.exceptions
from docker.tls import TLSConfig
from docker.utils import parse_host, version_lt

from dev_postgres_mcp.errors import (
    EngineDown,
    EngineNotFound,
    EnginePermissionDenied,
    EngineUnavailable,
    EngineUnsupported,
)
from dev_postgres_mcp.runtimes.docker.contexts import Address
from dev_postgres_mcp.runtimes.docker.failures import find_os_error, tell_reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_API_VERSION = re.compile(r"\d+\.\d+")
MINIMUM_API = "1.41"
"""Engine 20.10, December 2020."""
CONNECT_TIMEOUT = 5.0
"""Seconds to answer `/version`; an engine that is up takes a few milliseconds."""
_POOL_SIZE = 64


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """An engine that answers, and what was tried before it was found."""

    api: Api
    address: Address
    tried: tuple[str, ...]


class Api(docker.APIClient):
    """The SDK's low-level client, with a timeout that each thread sets for its own calls."""

    def __init__(self, address: Address, patience: float) -> None:
        """Connect to `address` within `patience` seconds and take the API version that the engine speaks."""
        self._local = threading.local()
        self._patience = patience
        self._answer: requests.Response | None = None
        try:
            super().__init__(
                base_url=address.url,
                version="auto",
                timeout=patience,  # type: ignore[arg-type]  # the stubs want whole seconds
                tls=_tls_config(address),
                use_ssh_client=True,
                max_pool_size=_POOL_SIZE,
            )
        except BaseException:
            self.close()
            raise

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request, and remember the answer for `hang_up`."""
        self._answer = super().send(request, **options)
        return self._answer

    def hang_up(self) -> None:
        """End the answer that is being read, whichever thread reads it; only for a client with one reader."""
        with suppress(ValueError, RuntimeError, OSError):
            if self._answer is not None:
                self._answer.raw.shutdown()

    def changed_at(self, container_id: str, path: str) -> str:
        """Return the time of a path's last change as the engine writes it; empty where there is no such path.

        The SDK lacks `HEAD /containers/{id}/archive` (Docker API, "Get information about files in a container").
        """
        address = self._url("/containers/{0}/archive", container_id)  # type: ignore[attr-defined]  # not in the stubs
        response = self.head(address, params={"path": path}, timeout=self.timeout)
        if response.status_code == HTTPStatus.NOT_FOUND:
            return ""
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._check_there(container_id)
        self._raise_for_status(response)  # type: ignore[attr-defined]  # as above
        facts = json.loads(base64.b64decode(response.headers["X-Docker-Container-Path-Stat"]))
        return str(facts["mtime"])

    @contextmanager
    def attached(self, container_id: str) -> Iterator[socket.socket]:
        """Yield a line to the stdin of a container, which may not run yet."""
        # Over plain HTTP the SDK hands out a reader on top of the socket.
        reader = self.attach_socket(container_id, {"stdin": 1, "stream": 1})
        line: socket.socket = getattr(reader, "_sock", reader)
        try:
            yield line
        finally:
            with suppress(OSError):
                line.close()
                # Over ssh it is the same one, which must not be closed twice.
                if reader is not line:
                    reader.close()

    def _check_there(self, container_id: str) -> None:
        """Raise NotFound when a container is being removed: an answer to HEAD has no words that would say so."""
        state = self.inspect_container(container_id)["State"]
        if state["Dead"] or state["Status"] in {"dead", "removing"} or not state["Running"]:
            raise docker.errors.NotFound("gone", explanation=f"No such container: {container_id}")

    @property  # type: ignore[override]  # the stubs want whole seconds; requests takes fractions
    def timeout(self) -> float:
        """Seconds that the calling thread gives the engine for one call."""
        return getattr(self._local, "timeout", self._patience)

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._local.timeout = seconds


def find_engine(addresses: tuple[Address, ...], patience: float = CONNECT_TIMEOUT) -> Discovery:
    """Return the first engine that answers, and what was tried.

    Raises the most telling of the failures: one that is there and refuses says more than one that is absent.
    """
    failures: list[EngineUnavailable] = []
    for address in addresses:
        try:
            api = _reach(address, patience)
        except EngineUnavailable as exc:
            failures.append(exc)
        else:
            tried = tuple(failure.message for failure in failures)
            return Discovery(api=api, address=address, tried=tried)
    by_weight = (EngineUnsupported, EnginePermissionDenied, EngineDown, EngineNotFound)
    worst = min(failures, key=lambda failure: by_weight.index(type(failure)))
    places = "".join(f"\n  - {failure.message}" for failure in failures)
    raise type(worst)(f"no Docker engine to work with; tried:{places}", hint=worst.hint) from worst


def _reach(address: Address, patience: float) -> Api:
    _check_transport(address)
    try:
        api = Api(address, patience)
    except docker.errors.InvalidVersion as exc:
        raise _unsupported(address, "its API is older than the Docker SDK can speak") from exc
    except docker.errors.DockerException as exc:
        raise _explain(address, exc) from exc
    except ValueError as exc:
        raise _unsupported(address, "its API version is no version") from exc
    if not _API_VERSION.fullmatch(api.api_version) or version_lt(api.api_version, MINIMUM_API):
        api.close()
        raise _unsupported(address, f"it speaks API {api.api_version}")
    return api


def _check_transport(address: Address) -> None:
    """Raise EngineNotFound for what cannot lead to an engine at all."""
    try:
        parse_host(address.url, is_win32=sys.platform == "win32", tls=address.tls is not None)
    except (docker.errors.DockerException, ValueError) as exc:
        raise EngineNotFound(
            f"{address}: not an address", hint="write it as unix:///path, tcp://host:port or ssh://user@host"
        ) from exc
    if address.socket is not None and hasattr(socket, "AF_UNIX"):
        _knock(address, address.socket)
    if urlsplit(address.url).scheme == "ssh" and (
        find_spec("paramiko") is None or shutil.which("ssh") is None
    ):
        raise EngineNotFound(
            f"{address}: no ssh client on this machine",
            hint="install OpenSSH, and this program as dev-postgres-mcp[ssh]",
        )


def _knock(address: Address, path: Path) -> None:
    """Connect once to a unix socket: the system's own error says most, and the SDK would leave it open."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
        knocking.settimeout(CONNECT_TIMEOUT)
        try:
            knocking.connect(str(path))
        except FileNotFoundError as exc:
            raise EngineNotFound(
                f"{address}: no such socket",
                hint="install or start Docker (https://docs.docker.com/get-docker/), "
                "or point DOCKER_HOST at your engine",
            ) from exc
        except OSError as exc:
            raise _explain(address, exc) from exc


def _explain(address: Address, exc: Exception) -> EngineUnavailable:
    cause = find_os_error(exc)
    if isinstance(cause, PermissionError):
        return EnginePermissionDenied(
            f"{address}: permission denied",
            hint="join the docker group (`sudo usermod -aG docker $USER`, then log in again) "
            "or use rootless Docker; do not run this program as root for it",
        )
    if isinstance(exc.__cause__, docker.errors.APIError):
        return _unsupported(address, f"it answered {exc.__cause__.explanation or exc.__cause__}")
    silent = (requests.exceptions.ConnectionError, requests.exceptions.Timeout)
    if cause is None and not isinstance(exc, OSError) and not isinstance(exc.__cause__, silent):
        return _unsupported(address, "what answers there does not speak the Docker API")
    return EngineDown(
        f"{address}: does not answer ({tell_reason(exc)})",
        hint="start the engine (`sudo systemctl start docker`, or open Docker Desktop), then try again",
    )


def _unsupported(address: Address, why: str) -> EngineUnsupported:
    return EngineUnsupported(
        f"{address}: {why}",
        hint=f"use Docker Engine 20.10 or newer (API {MINIMUM_API}), or podman 4 or newer",
    )


def _tls_config(address: Address) -> TLSConfig | bool:
    if address.tls is None:
        return False
    tls = address.tls
    return TLSConfig(
        client_cert=(str(tls.cert), str(tls.key)) if tls.cert and tls.key else None,
        ca_cert=str(tls.ca) if tls.ca else None,
        verify=tls.verify,
    )
