"""The connection to one engine: made on first use, and made anew after the engine was lost."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import docker.errors
import requests.exceptions
import urllib3.exceptions

from dev_postgres_mcp.errors import EngineDown
from dev_postgres_mcp.runtimes.docker.contexts import find_addresses
from dev_postgres_mcp.runtimes.docker.discovery import CONNECT_TIMEOUT, Api, find_engine
from dev_postgres_mcp.runtimes.docker.failures import tell_reason, translate_api_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.runtimes.docker.contexts import DockerEnvironment
    from dev_postgres_mcp.runtimes.docker.discovery import Discovery

_LOST = (
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    docker.errors.DockerException,
    OSError,
)
CALL_TIMEOUT = 30.0
"""Seconds for one call to the engine; a start on a busy machine can take several."""


class EngineConnection:
    """Hands out the client of a reachable engine and speaks of its failures in our words.  Thread-safe."""

    def __init__(self, environment: DockerEnvironment) -> None:
        """Nothing is touched before the first call."""
        self._environment = environment
        self._found: Discovery | None = None
        self._lock = threading.Lock()

    def discover(self, deadline: Deadline | None = None) -> Discovery:
        """Return the engine that was found, or look for it; raises EngineUnavailable."""
        found = self._found
        if found is None:
            patience = min(CONNECT_TIMEOUT, deadline.remaining()) if deadline else CONNECT_TIMEOUT
            found = find_engine(find_addresses(self._environment), patience)
            with self._lock:
                self._found = found
        return found

    @contextmanager
    def calling(
        self, doing: str, *, deadline: Deadline | None = None, patience: float = CALL_TIMEOUT
    ) -> Iterator[Api]:
        """Yield the client; whatever it raises leaves as one of our errors, `doing` in its text.

        One call takes `patience` seconds at most, or what is left until the deadline.
        """
        if deadline is not None:
            deadline.check(doing)
        api = self.discover(deadline).api
        api.timeout = max(0.1, min(patience, deadline.remaining() if deadline else patience))
        try:
            yield api
        except docker.errors.APIError as exc:
            raise translate_api_error(exc, doing) from exc
        except _LOST as exc:
            if not isinstance(exc, requests.exceptions.Timeout):
                self.close()
            if deadline is not None:
                deadline.check(doing)
            raise EngineDown(
                f"the Docker engine stopped answering while {doing}: {tell_reason(exc)}",
                hint="start it again, then repeat the call; `dev-postgres-mcp doctor` shows where it was",
            ) from exc

    def open(self, deadline: Deadline) -> Api:
        """Return a client of its own for one long call, with the registry logins as they stand now."""
        return Api(self.discover(deadline).address, CONNECT_TIMEOUT)

    def close(self) -> None:
        """Forget the engine; the next call looks for it again."""
        with self._lock:
            found, self._found = self._found, None
        if found is not None:
            found.api.close()
