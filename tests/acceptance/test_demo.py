"""`make demo` does what it says, also when it is interrupted or has no engine."""

from __future__ import annotations

import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.program import Program

DEMO = (sys.executable, str(Path(__file__).parents[2] / "tools" / "demo.py"))
STEPS = (
    "start the MCP server",
    "create_postgres_instance",
    "connect with psycopg",
    "create a table",
    "insert",
    "query",
    "health_check_postgres",
    "list_postgres_instances",
    "drop_postgres_instance",
    "done",
)


@pytest.mark.docker
def test_the_demo_shows_each_step_with_its_seconds_and_leaves_nothing(
    program: Program, left: Callable[[], list[str]]
) -> None:
    done = program.named(*DEMO).run()
    lines = [re.fullmatch(r" *(\d+\.\d{3}) s  (.{24,}?)  (\S.*)", line) for line in done.stdout.splitlines()]
    assert [line[2].strip() if line else None for line in lines] == list(STEPS)
    assert done.stdout.splitlines()[-1].endswith("nothing is left")
    assert "\x1b" not in done.stdout
    assert left() == []


@pytest.mark.docker
@pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: no SIGINT for a child there")
@pytest.mark.parametrize("step", ["start the MCP server", "create_postgres_instance"])
def test_an_interrupted_demo_drops_what_it_made(
    program: Program, left: Callable[[], list[str]], step: str
) -> None:
    with program.having(PYTHONUNBUFFERED="1").named(*DEMO).start() as demo:
        assert demo.stdout is not None
        while step not in demo.stdout.readline():
            assert demo.poll() is None
        demo.send_signal(signal.SIGINT)
        rest, talk = demo.communicate()
    assert (demo.returncode, talk) == (130, ""), rest
    assert "what was made is dropped" in rest
    assert left() == []


def test_a_demo_without_an_engine_fails_with_the_reason(offline: Program) -> None:
    done = offline.named(*DEMO).run(code=1)
    assert "no.sock" in done.stdout
    assert "Traceback" not in done.stderr
