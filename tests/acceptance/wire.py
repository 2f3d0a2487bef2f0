"""An MCP client that speaks raw JSON-RPC, so that a test sees every line that a server writes."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from tests.acceptance.program import PATIENCE

if TYPE_CHECKING:
    import subprocess
    from types import TracebackType

    from tests.acceptance.program import Program

LEGACY = ("2025-06-18", "2025-11-25")
MODERN = "2026-07-28"
_META = "io.modelcontextprotocol/"


class RawSession:
    """One server process and a conversation with it, in either era."""

    def __init__(
        self, program: Program, *options: str, era: str = LEGACY[-1], serving: tuple[str, ...] = ()
    ) -> None:
        """Start `dev-postgres-mcp [options] mcp serve [serving]` and greet it as a client of that era does."""
        self.process: subprocess.Popen[str] = program.start(*options, "mcp", "serve", *serving)
        self.era = era
        self.lines: list[str] = []
        self.said = ""
        self.ended = False
        self.greeting: dict[str, Any] = {}
        self._heard = threading.Condition()
        self._last_id = 0
        self._readers = [threading.Thread(target=target) for target in (self._read_lines, self._read_talk)]
        for reader in self._readers:
            reader.start()

    def greet(self) -> dict[str, Any]:
        """Open the conversation and return what the server says of itself."""
        if self.era == MODERN:
            return self.ask("server/discover")
        about = {"protocolVersion": self.era, "capabilities": {}, "clientInfo": _CLIENT}
        answer = self.ask("initialize", **about)
        self.tell("notifications/initialized")
        return answer

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a request and return its answer's message."""
        return self.wait_answer(self.send(method, **params))

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its result."""
        result: dict[str, Any] = self.ask("tools/call", name=tool, arguments=arguments)["result"]
        return result

    def send(self, method: str, **params: Any) -> int:
        """Send a request and return its id; asks for progress under the same number."""
        self._last_id += 1
        meta: dict[str, Any] = {"progressToken": self._last_id} if method == "tools/call" else {}
        if self.era == MODERN:
            meta |= {f"{_META}protocolVersion": MODERN, f"{_META}clientInfo": _CLIENT}
            meta |= {f"{_META}clientCapabilities": {}}
        given = params | ({"_meta": meta} if meta else {})
        self.write({"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": given})
        return self._last_id

    def tell(self, method: str, **params: Any) -> None:
        """Send a notification."""
        self.write({"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {}))

    def write(self, message: object) -> None:
        """Send one line: a message, or a text as it is."""
        assert self.process.stdin is not None
        self.process.stdin.write((message if isinstance(message, str) else json.dumps(message)) + "\n")
        self.process.stdin.flush()

    def wait_answer(self, request: int) -> dict[str, Any]:
        """Wait for the answer to a request."""
        return self._wait_message(lambda message: message.get("id") == request and "method" not in message)

    def answered(self, request: int) -> bool:
        """Whether a request has been answered."""
        return any(message.get("id") == request for message in self.messages())

    def wait_progress(self, request: int, text: str) -> None:
        """Wait for a progress notification of a request that begins with `text`."""
        self._wait_message(
            lambda message: (
                message.get("method") == "notifications/progress"
                and message["params"]["progressToken"] == request
                and message["params"]["message"].startswith(text)
            )
        )

    def progress(self, request: int) -> list[dict[str, Any]]:
        """Return the progress of a request so far."""
        found = (m["params"] for m in self.messages() if m.get("method") == "notifications/progress")
        return [params for params in found if params["progressToken"] == request]

    def messages(self) -> list[dict[str, Any]]:
        """Return every line of stdout as a JSON-RPC 2.0 message; any other line fails the test."""
        with self._heard:
            return [_parse(line) for line in self.lines]

    def end_input(self) -> None:
        """Say no more: what a client does that closes in order."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait_end(self) -> tuple[int, float]:
        """Wait until the process has ended; return its exit code and the seconds that it took."""
        start = time.perf_counter()
        for (
            reader
        ) in self._readers:  # no polling, as a wait with a timeout would: the end of its pipes is its end
            reader.join(PATIENCE)
        code = self.process.wait(PATIENCE)
        return code, time.perf_counter() - start

    def __enter__(self) -> Self:
        self.greeting = self.greet()["result"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.end_input()
        self.wait_end()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None and not stream.closed:
                stream.close()
        if kind is None:
            self.messages()

    def _wait_message(self, wanted: Any) -> dict[str, Any]:
        with self._heard:
            found: list[dict[str, Any]] = []

            def look() -> bool:
                found[:] = [message for message in map(_parse, self.lines) if wanted(message)]
                return bool(found) or self.ended

            assert self._heard.wait_for(look, PATIENCE), f"no answer; stderr: {self.said}"
            assert found, f"the server ended without an answer; stderr: {self.said}"
            return found[0]

    def _read_lines(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._heard:
                self.lines.append(line)
                self._heard.notify_all()
        with self._heard:
            self.ended = True
            self._heard.notify_all()

    def _read_talk(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said += line


_CLIENT = {"name": "acceptance", "version": "1"}


def _parse(line: str) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(line)
    assert message["jsonrpc"] == "2.0", line
    assert line.endswith("\n"), line
    kinds = {"result", "error", "method"} & message.keys()
    assert len(kinds) == 1, line
    return message


def text_of(result: dict[str, Any]) -> str:
    """Return the text of a tool's result."""
    return "\n".join(part["text"] for part in result["content"])
