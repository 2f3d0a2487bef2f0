"""A scripted Docker Engine on a real unix socket: it answers what a test tells it to."""

from __future__ import annotations

import http.server
import json
import re
import socketserver
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

Answer = tuple[int, str]
HANG_UP: Answer = (0, "")
"""Close the connection without a word."""
HANG: Answer = (-1, "")
"""Keep the connection and never answer."""


@dataclass
class ScriptedEngine:
    """A context manager; `answers` by path, versions (`/v1.44`) left out of it.

    `minimum` is the least API version that it takes, as Engine 29 does.
    """

    api: str = "1.44"
    minimum: str = ""
    answers: Mapping[str, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Not below pytest's tmp_path: the system allows about 100 bytes for a socket's path.
        self._folder = tempfile.TemporaryDirectory(prefix="dpm-")
        self.socket = Path(self._folder.name) / "docker.sock"
        self.asked: list[str] = []
        self._ended = threading.Event()

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def answer(self, path: str) -> Answer:
        self.asked.append(path)
        match = re.fullmatch(r"(?:/v(?P<version>[0-9.]+))?(?P<rest>/[^?]*).*", path)
        assert match is not None, path
        version, rest = match["version"], match["rest"]
        if version and self.minimum and _numbers(version) < _numbers(self.minimum):
            text = f"client version {version} is too old. Minimum supported API version is {self.minimum}"
            return 400, json.dumps({"message": text})
        if rest in self.answers:
            if self.answers[rest] == HANG:
                self._ended.wait()
                return HANG_UP
            return self.answers[rest]
        if rest == "/_ping":
            return 200, "OK"
        if rest == "/version":
            least = self.minimum or "1.12"
            return 200, json.dumps(
                {"Version": "0.0.0-scripted", "ApiVersion": self.api, "MinAPIVersion": least}
            )
        return 404, json.dumps({"message": f"page not found: {rest}"})

    def __enter__(self) -> Self:
        self._server = _Server(str(self.socket), _handler(self.answer))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._folder.cleanup()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _handler(answer: Callable[[str], Answer]) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path)
            if (status, body) == HANG_UP:
                self.close_connection = True
                return
            content = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_HEAD = do_POST = do_DELETE = do_GET  # noqa: N815 - the standard library's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
            """Say nothing."""

        def address_string(self) -> str:
            return "unix"

    return Handler


class _Server(socketserver.ThreadingMixIn, getattr(socketserver, "UnixStreamServer", socketserver.TCPServer)):  # type: ignore[misc]  # Windows has none; tests there do not come here
    daemon_threads = True
