"""A door to an engine at which a process is killed: at the very request that a test has chosen."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path


class Moment(StrEnum):
    """When a process dies at a request that changes something."""

    CUT = "with half of it sent"
    SENT = "as soon as it is sent"
    ANSWERED = "before the answer is heard"


@dataclass
class Ambush:
    """Kills a process at its `number`-th change, counted from 0."""

    number: int
    moment: Moment
    victim: subprocess.Popen[str] | None = None
    struck: bool = False

    def strike(self) -> None:
        """Kill it, and return when it is dead."""
        assert self.victim is not None
        self.victim.kill()
        self.victim.wait()
        self.struck = True


class Door:
    """Carries requests to an engine's socket, and notes those that change something."""

    def __init__(self, target: str, path: Path) -> None:
        """Listen at `path`; `target` is the engine's address."""
        self.address = f"unix://{path}"
        self._target = target.removeprefix("unix://")
        self._changes: list[str] = []
        self._ambush: Ambush | None = None
        self._lock = threading.Lock()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(64)
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def begin(self, ambush: Ambush | None = None) -> None:
        """Count anew, and lie in wait."""
        with self._lock:
            self._changes, self._ambush = [], ambush

    @property
    def changes(self) -> list[str]:
        """What has been changed since, in this order."""
        with self._lock:
            return list(self._changes)

    def close(self) -> None:
        """Let nobody in any more."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self._target)
            visit = Visit(client, engine)
            answers = threading.Thread(target=visit.carry_answers, daemon=True)
            answers.start()
            with suppress(OSError), client.makefile("rb") as requests:
                while head := read_head(requests):
                    visit.carry_request(head, read_body(head, requests), self._judge(head))
                    if b"\r\nUpgrade:" in head:
                        visit.carry_words(requests)
            # As the kernel does for a process that is gone.
            for side in (engine, client):
                with suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
            answers.join()

    def _judge(self, head: bytes) -> Ambush | None:
        """Note a change; return the ambush if it is laid for this one."""
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        route = re.sub(r"^/v[\d.]+", "", path)
        # To have something executed is how one reads.
        if method in {"GET", "HEAD"} or re.search(r"/exec\b", route):
            return None
        with self._lock:
            number = len(self._changes)
            self._changes.append(f"{method} {route}")
            ambush = self._ambush
        return ambush if ambush is not None and ambush.number == number else None


@dataclass
class Visit:
    """One connection of a client."""

    client: socket.socket
    engine: socket.socket
    ambush: Ambush | None = None

    def carry_request(self, head: bytes, body: bytes, ambush: Ambush | None) -> None:
        """Pass a request on; when there is an ambush, kill the one who sends it."""
        if ambush is None:
            self.engine.sendall(head + body)
        elif ambush.moment is Moment.ANSWERED:
            self.ambush = ambush
            self.engine.sendall(head + body)
        else:
            half = len(body) // 2 if ambush.moment is Moment.CUT else len(body)
            self.engine.sendall(head + body[:half])
            ambush.strike()

    def carry_words(self, requests: IO[bytes]) -> None:
        """Pass on what is no request any more, to the end."""
        while words := requests.read1(65536):  # type: ignore[attr-defined]  # a buffered reader has it
            self.engine.sendall(words)

    def carry_answers(self) -> None:
        """Pass answers on until the engine hangs up."""
        with suppress(OSError):
            while answer := self.engine.recv(65536):
                if self.ambush is not None:
                    self.ambush.strike()
                    return
                self.client.sendall(answer)
            self.client.shutdown(socket.SHUT_WR)


def read_head(requests: IO[bytes]) -> bytes:
    """Return the first lines of a request with the empty one behind them; nothing at the end."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = requests.readline()
        if not line:
            return b""
        head += line
    return head


def read_body(head: bytes, requests: IO[bytes]) -> bytes:
    """Return the body as it came."""
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    headers = {name.lower(): value.strip() for name, _, value in lines}
    if headers.get(b"transfer-encoding") != b"chunked":
        return requests.read(int(headers.get(b"content-length", b"0")))
    body, size = b"", -1
    while size:
        line = requests.readline()
        size = int(line, 16)
        body += line + requests.read(size + 2)
    return body
