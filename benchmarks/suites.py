"""The same suite of tests for three plugins, run as whole processes of pytest.

pytest-postgresql is no dependency of ours (its licence is the LGPL): it is installed into an environment beside, by
its version and when it is asked for.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.local import VERSION, as_ordinary_user
from dev_postgres_mcp.runtimes.throwaway import throwaway_settings
from dev_postgres_mcp.settings import child_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measuring import Sample

TABLES = 30
SCHEMA = "".join(
    f"CREATE TABLE t{number} (id bigint PRIMARY KEY, name text UNIQUE);\n" for number in range(TABLES)
)
SERVER_OPTIONS = " ".join(f"-c {name}={value}" for name, value in throwaway_settings(VERSION).items())
VENV = Path(__file__).parents[1] / "build" / "bench-venv"
OTHER = ("pytest-postgresql==10.0.0", *(f"{name}=={version(name)}" for name in ("pytest", "psycopg")))
"""Pinned, and with the same pytest and psycopg as ours; psycopg with its compiled part, as ours has."""
_SETTLE = 20.0
"""Seconds for an interrupted suite to end its server."""
_PATIENCE = 300.0
_TESTS = """
import psycopg, pytest

@pytest.mark.parametrize("number", range({count}))
def test_write_and_read({fixture}, number):
    with {connect} as connection:
        connection.execute("INSERT INTO t1 VALUES (1, 'a')")
        assert connection.execute("SELECT count(*) FROM t1").fetchone() == (1,)
"""
_TIMES = """
import time
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    started = time.perf_counter()
    result = yield
    with open("times", "a") as file:
        file.write(f"{time.perf_counter() - started}\\n")
    return result
"""
_WITH_PROCESS = """
from pathlib import Path
from pytest_postgresql import factories

postgresql_proc = factories.postgresql_proc(
    executable=@PG_CTL@, load=[Path("schema.sql")], startparams="-w", postgres_options=@OPTIONS@,
)
postgresql = factories.postgresql("postgresql_proc")
"""
_WITH_CONTAINER = """
import itertools
import psycopg
import pytest
from testcontainers.community.postgres import PostgresContainer

@pytest.fixture(scope="session")
def server():
    container = PostgresContainer("@IMAGE@", driver=None).with_command("postgres " + @OPTIONS@)
    with container.with_kwargs(labels=@LABELS@):
        url = container.get_connection_url()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE template")
        url = url.rpartition("/")[0]
        with psycopg.connect(f"{url}/template", autocommit=True) as connection:
            connection.execute(open("schema.sql").read())
        yield url

@pytest.fixture
def database(server, numbers=itertools.count()):
    name = f"test_{next(numbers)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template")
        yield f"{server}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
"""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A directory with tests, and how pytest is run in it: with no plugin but the one that is named."""

    directory: Path
    options: Sequence[str]
    environment: Mapping[str, str]
    command: Sequence[str] = (sys.executable,)

    def run(self) -> Sample:
        """Return the seconds of the whole process, and of the middle test."""
        times = self.directory / "times"
        times.unlink(missing_ok=True)
        arguments = [*self.command, "-m", "pytest", "-q", "-p", "no:cacheprovider", *self.options]
        alone = {**self.environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "CI": ""}
        started = time.perf_counter()
        run_to_end(arguments, self.directory, alone)
        whole = time.perf_counter() - started
        each = [float(line) for line in times.read_text(encoding="ascii").split()]
        return {"whole": whole, "test": statistics.median(each)}


def write_suite(directory: Path, *, count: int, fixture: str, connect: str, conftest: str = "") -> None:
    """Write the suite with its schema; `connect` is the expression that connects to what `fixture` yields."""
    directory.mkdir()
    tests = _TESTS.format(count=count, fixture=fixture, connect=connect)
    for name, text in {"schema.sql": SCHEMA, "conftest.py": conftest + _TIMES, "test_it.py": tests}.items():
        (directory / name).write_text(text, encoding="utf-8")


def process_conftest(pg_ctl: Path) -> str:
    """Return the set-up of pytest-postgresql on these server programs."""
    return _fill(_WITH_PROCESS, PG_CTL=repr(str(pg_ctl)), OPTIONS=repr(SERVER_OPTIONS))


def container_conftest(image: str, labels: Mapping[str, str]) -> str:
    """Return the set-up of testcontainers: one container for all, a database for each test."""
    return _fill(_WITH_CONTAINER, IMAGE=image, OPTIONS=repr(SERVER_OPTIONS), LABELS=repr(dict(labels)))


def run_to_end(arguments: Sequence[str], directory: Path, environment: Mapping[str, str]) -> None:
    """Run a suite, which has to pass; one that we do not wait for any longer may end its server first."""
    process = subprocess.Popen(
        arguments,
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=_PATIENCE)
    except BaseException:
        _interrupt(process)
        raise
    assert process.returncode == 0, said[-3000:]


def install_other() -> list[str] | None:
    """Return how Python is run with the other plugin; None, and a word, when that cannot be installed."""
    stamp, wanted = VENV / "installed", "\n".join(OTHER)
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        for command in (
            [sys.executable, "-m", "venv", "--clear", str(VENV)],
            [str(VENV / "bin/python"), "-m", "pip", "install", "--quiet", *OTHER, "psycopg[binary]"],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                sys.stderr.write(
                    f"{OTHER[0]} cannot be installed, and is not measured: {done.stderr[-300:]}\n"
                )
                return None
        stamp.write_text(wanted, encoding="utf-8")
    return [*_contained(), str(VENV / "bin/python")]


def local_environment(state_home: Path) -> dict[str, str]:
    """Return the environment of a process whose local servers lie in memory, listed in a directory of their own."""
    return child_environment(
        {"XDG_STATE_HOME": str(state_home), "DEV_POSTGRES_MCP_EMBEDDED_STORAGE": "memory"}
    )


def _contained() -> list[str]:
    """Return how root starts a suite that refuses root: whatever it leaves ends with it."""
    user = as_ordinary_user()
    return [*user, "--pid", "--ipc", "--fork", "--kill-child"] if user else []


def _interrupt(process: subprocess.Popen[str]) -> None:
    for number, seconds in ((signal.SIGINT, _SETTLE), (signal.SIGKILL, _PATIENCE)):
        try:
            os.killpg(process.pid, number)
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            pass
        return


def _fill(text: str, **values: str) -> str:
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text
