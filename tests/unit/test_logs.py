"""Logs go to stderr in one form, and what writes them is loaded by the first line."""

from __future__ import annotations

import json
import subprocess
import sys

WRITE = """
import logging, sys
from dev_postgres_mcp.logs import configure_logs
configure_logs("info", sys.argv[1])
log = logging.getLogger("some.where")
log.debug("too fine")
quiet = "structlog" not in sys.modules
log.warning("swept %s", "k7m")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("it failed")
print(quiet)
"""


def write_logs(form: str) -> tuple[str, list[str]]:
    """Return stdout and the lines of stderr of a process that logs."""
    done = subprocess.run(
        [sys.executable, "-c", WRITE, form], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout, done.stderr.splitlines()


def test_text_has_time_level_message_and_logger_and_a_traceback_below() -> None:
    stdout, lines = write_logs("text")
    assert stdout == "True\n"
    assert lines[0].split()[1:] == ["[warning", "]", "swept", "k7m", "[some.where]"]
    assert lines[1].split()[1:] == ["[error", "]", "it", "failed", "[some.where]"]
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_json_has_a_line_for_each_record() -> None:
    _, lines = write_logs("json")
    warning, error = map(json.loads, lines)
    assert warning["timestamp"].endswith("Z")
    assert {key: warning[key] for key in ("level", "event", "logger")} == {
        "level": "warning",
        "event": "swept k7m",
        "logger": "some.where",
    }
    assert error["level"] == "error"
    assert error["exception"].endswith("ZeroDivisionError: division by zero")
