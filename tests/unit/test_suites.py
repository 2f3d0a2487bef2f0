"""What the benchmarks of local servers and of fresh databases are made of, without a server."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.__main__ import DOCUMENT
from benchmarks.embedded import COLD_MEMORY, CREATE, DROP, FLOOR, TARGETS, creation_rows
from benchmarks.fresh_database import BOTH, LOCAL, OURS, PLAIN, suite_rows, verb_rows
from benchmarks.fresh_database import CREATE as CREATE_DATABASE
from benchmarks.fresh_database import DROP as DROP_DATABASE
from benchmarks.local import bare_command, temporary_directory
from benchmarks.suites import (
    OTHER,
    SERVER_OPTIONS,
    TABLES,
    Suite,
    container_conftest,
    process_conftest,
    run_to_end,
    write_suite,
)

if TYPE_CHECKING:
    from benchmarks.measuring import Samples

PASSING = "nullcontext(SimpleNamespace(execute=lambda _: SimpleNamespace(fetchone=lambda: (1,))))"
CONFTEST = """
from contextlib import nullcontext
from types import SimpleNamespace
import pytest

@pytest.fixture
def connection():
    return {connection}
"""


def test_creates_are_rows_beside_the_floor_each_with_its_target() -> None:
    taken: Samples = {
        what: {CREATE: (at_most, at_most), DROP: (0.01, 0.01)} for what, at_most in TARGETS.items()
    }
    rows = creation_rows({**taken, FLOOR: {CREATE: (0.03, 0.03)}})
    creates = {row.what: row for row in rows if row.subject == CREATE}
    assert {row.what for row in rows if row.subject == DROP} == set(TARGETS)
    assert creates[COLD_MEMORY].ratio_to(creates[FLOOR]) == pytest.approx(4)
    assert all(creates[what].meets(*creates[what].targets) for what in TARGETS)
    assert creates[FLOOR].targets == ()


def test_the_target_of_a_fresh_database_is_of_create_and_drop_together() -> None:
    taken: Samples = {
        what: {CREATE_DATABASE: (0.01 * size,), DROP_DATABASE: (0.004 * size,), BOTH: (0.014 * size,)}
        for what, size in ((OURS, 1), (PLAIN, 2))
    }
    rows = verb_rows(taken)
    (row,) = (row for row in rows if row.targets)
    assert row.what == f"{BOTH}, {OURS}"
    assert row.meets(*row.targets)
    assert [row.ratio_to(row.beside) for row in rows if row.beside] == [pytest.approx(0.5)] * 3


def test_suites_are_compared_whole_and_by_their_middle_test() -> None:
    rows = suite_rows(
        {LOCAL: {"whole": (2.0,), "test": (0.02,)}, "other": {"whole": (6.0,), "test": (0.04,)}}, 9
    )
    assert [round(row.ratio_to(row.beside)) for row in rows if row.beside] == [3, 2]
    assert rows[0].subject.startswith("9 tests")


def test_every_contender_gets_the_same_settings_and_the_other_plugin_is_pinned() -> None:
    assert "-c fsync=off" in SERVER_OPTIONS
    container = container_conftest("postgres:17", {"benchmarks.session": "one"})
    assert SERVER_OPTIONS in container
    assert "labels={'benchmarks.session': 'one'}" in container
    assert SERVER_OPTIONS in process_conftest(Path("/opt/pg_ctl"))
    assert re.findall("@[A-Z]", container + process_conftest(Path("/opt/pg_ctl"))) == []
    assert all("==" in requirement for requirement in OTHER)


def test_a_bare_server_has_the_settings_of_an_instance(tmp_path: Path) -> None:
    command = bare_command(Path("postgres"), tmp_path, 15432)
    assert command[-1].startswith("dynamic_shared_memory_type=")
    assert {"fsync=off", "port=15432", "listen_addresses=127.0.0.1"} <= set(command)


def test_a_directory_for_a_benchmark_goes_even_when_it_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with temporary_directory(tmp_path) as home:
            (home / "file").write_text("", encoding="utf-8")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_suite_tells_the_time_of_the_run_and_of_its_middle_test(tmp_path: Path) -> None:
    conftest = CONFTEST.format(connection=PASSING)
    write_suite(tmp_path / "suite", count=3, fixture="connection", connect="connection", conftest=conftest)
    assert (tmp_path / "suite" / "schema.sql").read_text(encoding="utf-8").count("CREATE TABLE") == TABLES
    suite = Suite(directory=tmp_path / "suite", options=(), environment=dict(os.environ))
    for _ in range(2):
        sample = suite.run()
        assert len((tmp_path / "suite" / "times").read_text(encoding="utf-8").split()) == 3
        assert 0 < sample["test"] < sample["whole"]


def test_a_suite_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="nobody is there"):
        run_to_end([sys.executable, "-c", "raise SystemExit('nobody is there')"], tmp_path, dict(os.environ))


@pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: no signals to groups of processes there")
def test_a_suite_that_is_not_waited_for_may_put_its_server_away(tmp_path: Path) -> None:
    program = (
        "import pathlib, time\n"
        "try:\n pathlib.Path('began').touch(); time.sleep(60)\n"
        "except KeyboardInterrupt:\n pathlib.Path('ended').touch()"
    )

    def end_when_it_has_begun() -> None:
        while not (tmp_path / "began").exists():
            waiting.wait(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    waiting = threading.Event()
    interrupting = threading.Thread(target=end_when_it_has_begun)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        run_to_end([sys.executable, "-c", program], tmp_path, dict(os.environ))
    interrupting.join()
    assert (tmp_path / "ended").exists()


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.lock"])
def test_the_other_plugin_is_no_dependency_of_ours(name: str) -> None:
    assert "pytest-postgresql" not in (DOCUMENT.parents[1] / name).read_text(encoding="utf-8")
