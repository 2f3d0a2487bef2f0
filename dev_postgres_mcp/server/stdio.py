"""Serving over stdin and stdout, and ending well: at EOF and at SIGTERM, SIGINT and SIGHUP.

The SDK keeps stdout to itself and sends stray prints to stderr.  It reads stdin on a thread that nothing can
interrupt, so that after a signal the process has to end itself.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

import anyio

if TYPE_CHECKING:
    from mcp.server import MCPServer

    from dev_postgres_mcp.server.session import Session
    from dev_postgres_mcp.server.workers import Workers

log = logging.getLogger(__name__)

DRAIN_SECONDS = 5.0
"""Longest wait for running verbs to undo what they began; usual is a fraction of a second."""

_ending = threading.Lock()


def serve_stdio(server: MCPServer[None], workers: Workers, session: Session) -> None:
    """Serve until stdin ends or a signal comes, then undo what is under way.  Does not return."""
    try:
        _serve_until_eof(server, workers, session)
    except BaseException:
        log.exception("the server failed")
        _end(workers, session, 1)
    for number in (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if sys.platform != "win32" else [])):
        # Nobody listens for them any more, and what is to be put away shall be.
        signal.signal(number, signal.SIG_IGN)
    _end(workers, session, 0)


def _serve_until_eof(server: MCPServer[None], workers: Workers, session: Session) -> None:
    try:
        anyio.run(_serve, server, workers, session)
    except* BrokenPipeError:
        log.info("the client has gone without closing our stdin first")


async def _serve(server: MCPServer[None], workers: Workers, session: Session) -> None:
    async with anyio.create_task_group() as tasks:
        if sys.platform != "win32":
            tasks.start_soon(_watch_signals, workers, session)
        session.begin()
        await server.run_stdio_async()
        tasks.cancel_scope.cancel()


async def _watch_signals(workers: Workers, session: Session) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for number in signals:
            # On a thread of its own: verbs that report progress need the event loop to go on.
            threading.Thread(target=_end, args=(workers, session, 128 + number), daemon=True).start()


def _end(workers: Workers, session: Session, code: int) -> NoReturn:
    """End the process, once: whoever comes later, a second signal or EOF, waits here until it is gone."""
    _ending.acquire()  # never released
    try:
        workers.drain(DRAIN_SECONDS)
        session.end()
        logging.shutdown()
    finally:
        os._exit(code)
