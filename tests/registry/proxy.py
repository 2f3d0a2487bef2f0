"""A scripted proxy before a real registry: it forwards, and misbehaves where a test says so."""

from __future__ import annotations

import http.client
import json
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

LOOPBACK = "127.0.0.1"
_GREETING = "/v2/"
_TLS = b"\x16"
CHUNK = 64 * 1024
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True)
class Request:
    """What the engine asked for, and as whom."""

    path: str
    authorization: str

    @property
    def is_manifest(self) -> bool:
        return "/manifests/" in self.path


@dataclass(frozen=True)
class Answer:
    """An answer that the registry never gave."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def refusal(status: int, code: str, message: str, **headers: str) -> Answer:
    """Return an answer in the registry API's form of errors (OCI distribution specification, "Error Codes")."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, body, {"Content-Type": "application/json", **named})


@dataclass
class Script:
    """How the proxy misbehaves.  `answer` comes first; the rest is about the bodies of layers."""

    answer: Callable[[Request], Answer | None] = lambda _: None
    pause: float = 0.0
    """Seconds between two chunks of a layer."""
    cut_after: Callable[[int], int | None] = lambda _: None
    """From the number of layers that were asked for so far, the bytes of this one until the connection ends."""
    cut_answers: bool = False
    """Whether the connection ends in the middle of every answer but the greeting."""
    drop_answers: bool = False
    """Whether every connection ends without an answer, except to the greeting."""
    stall_answers: bool = False
    """Whether nothing is answered at all for as long as the proxy lives."""
    stall_after: int | None = None
    """Bytes until a layer stands still for as long as the proxy lives."""


class Proxy:
    """One listening proxy.  `requests` is what the engine asked for, `layer_bytes` what layers it was sent."""

    def __init__(self, upstream: int) -> None:
        self.script = Script()
        self.requests: list[Request] = []
        self.layer_requests = 0
        self.layer_bytes = 0
        self.hung_up = threading.Event()
        self.flowing = threading.Event()
        self.stalled = threading.Event()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(self, upstream)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @contextmanager
    def serving(self) -> Iterator[Proxy]:
        self._thread.start()
        try:
            yield self
        finally:
            self._closing.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def begin_layer(self) -> int:
        with self._lock:
            self.layer_requests += 1
            return self.layer_requests

    def sent(self, count: int) -> None:
        with self._lock:
            self.layer_bytes += count
        self.flowing.set()

    def stall(self, hung_up: Callable[[], bool]) -> None:
        """Keep a layer waiting until the engine goes away or the test is over."""
        self.stalled.set()
        while not self._closing.wait(0.02):
            if hung_up():
                return


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, proxy: Proxy, upstream: int) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.proxy = proxy
        self.upstream = upstream

    def handle_error(self, request: object, client_address: object) -> None:
        """An engine that hangs up is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        if self.rfile.peek(1)[:1] == _TLS:  # type: ignore[attr-defined]  # typed too widely
            # Engines try HTTPS first; taken for a line of HTTP, that might never end.
            self.close_connection = True
            self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
            return
        super().handle_one_request()

    def do_GET(self) -> None:
        proxy = self.server.proxy
        request = Request(self.path, self.headers.get("Authorization", ""))
        proxy.requests.append(request)
        scripted = proxy.script.answer(request)
        if proxy.script.stall_answers:
            self.close_connection = True
            proxy.stall(self._is_hung_up)
        elif proxy.script.drop_answers and self.path != _GREETING:
            self.close_connection = True
        elif scripted is not None:
            self._reply(scripted)
        else:
            self._forward()

    do_HEAD = do_GET  # noqa: N815 - the base class's spelling

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def _reply(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer.body)

    def _forward(self) -> None:
        connection = http.client.HTTPConnection(LOOPBACK, self.server.upstream, timeout=30)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # Accept comes several times
                if name.lower() not in _HOP_BY_HOP:
                    connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self._send_body(answer)
        finally:
            connection.close()

    def _send_body(self, answer: http.client.HTTPResponse) -> None:
        if self.server.proxy.script.cut_answers and self.path != _GREETING:
            self.wfile.write(answer.read()[:100])
            self.close_connection = True
        elif "/blobs/" in self.path and int(answer.headers["Content-Length"]) > CHUNK:
            self._send_layer(answer)
        else:
            self.wfile.write(answer.read())

    def _send_layer(self, answer: http.client.HTTPResponse) -> None:
        proxy, script, sent = self.server.proxy, self.server.proxy.script, 0
        cut_after = script.cut_after(proxy.begin_layer())
        try:
            while chunk := answer.read(CHUNK):
                if cut_after is not None and sent >= cut_after:
                    self.close_connection = True
                    return
                if script.stall_after is not None and sent >= script.stall_after:
                    self.close_connection = True
                    proxy.stall(self._is_hung_up)
                    return
                self.wfile.write(chunk)
                sent += len(chunk)
                proxy.sent(len(chunk))
                time.sleep(script.pause)
        except OSError:
            proxy.hung_up.set()
            self.close_connection = True

    def _is_hung_up(self) -> bool:
        self.connection.setblocking(False)
        with suppress(BlockingIOError):
            if self.connection.recv(1) == b"":
                self.server.proxy.hung_up.set()
                return True
        return False
