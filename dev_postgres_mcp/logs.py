"""Logs: the standard library's, written by structlog on stderr, as text or JSON.  stdout belongs to data.

structlog is loaded by the first line that is written: most runs of a command write none.
"""

from __future__ import annotations

import logging
import sys
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import structlog


def configure_logs(level: str, form: str) -> None:
    """Send every logger of the process, libraries' included, to stderr from `level` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(form))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class _Formatter(logging.Formatter):
    """Has structlog write each line."""

    def __init__(self, form: str) -> None:
        """Write `text` or `json`."""
        super().__init__()
        self._form = form

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record; its handler lets one thread at a time in."""
        return self._writer.format(record)

    @cached_property
    def _writer(self) -> structlog.stdlib.ProcessorFormatter:
        import structlog

        renderer: structlog.typing.Processor = (
            structlog.processors.JSONRenderer()
            if self._form == "json"
            else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        )
        return structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
            ],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
