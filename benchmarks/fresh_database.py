"""A fresh database for each test: whole suites of pytest, ours and others', one after the other in turns.

Each suite has the same tests: a database with thirty tables from a template, a row written and read.  Processes of
pytest are measured whole, so that the start of the server counts, and by their second run: what is made once is made.
pytest-postgresql is not a dependency of ours (its licence is the LGPL): it is installed beside, when it can be had.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measuring import Row, Target, clock, take_turns
from dev_postgres_mcp.runtimes.embedded.providers import find_provider
from dev_postgres_mcp.settings import child_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.ground import Ground
    from benchmarks.measuring import Plan, Sample

ROUNDS = 5
SUBJECT = "a fresh database for each test"
NO_REAPER = {"TESTCONTAINERS_RYUK_DISABLED": "true"}
"""Its container of its own would be one more thing to wait for."""
VENV = Path(__file__).parents[1] / "build" / "bench-venv"
OTHER = ("pytest-postgresql==10.0.0", "pytest>=9", "psycopg[binary]>=3.2")
"""Pinned, so that numbers can be compared."""
TABLES = 30
SCHEMA = "".join(
    f"CREATE TABLE t{number} (id bigint PRIMARY KEY, name text UNIQUE);\n" for number in range(TABLES)
)
TEST = """
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_write_and_read({fixture}, number):
    with {connect} as connection:
        connection.execute("INSERT INTO t1 VALUES (1, 'a')")
        assert connection.execute("SELECT count(*) FROM t1").fetchone() == (1,)
"""
TIMES = """
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
THEIRS = """
from pathlib import Path
from pytest_postgresql import factories

postgresql_proc = factories.postgresql_proc(
    executable={pg_ctl!r}, load=[Path("schema.sql")], startparams="-w",
    postgres_options="-c fsync=off -c synchronous_commit=off -c full_page_writes=off",
)
postgresql = factories.postgresql("postgresql_proc")
"""
CONTAINER = """
import itertools
import psycopg
import pytest
from testcontainers.community.postgres import PostgresContainer

@pytest.fixture(scope="session")
def server():
    command = "postgres -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
    with PostgresContainer("postgres:17", driver=None).with_command(command) as container:
        with psycopg.connect(container.get_connection_url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE template")
        url = container.get_connection_url().rpartition("/")[0]
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


def measure(ground: Ground, plan: Plan) -> list[Row]:
    """Run each suite in turns; a row for whole runs and one for the middle test of each."""
    count = 5 if plan.quick else 100
    with tempfile.TemporaryDirectory(prefix="dpm-bench-") as home:
        taken = take_turns(_suites(Path(home), ground, count), plan.choose_rounds(ROUNDS))
    first = next(iter(taken))
    whole = {
        name: Row(subject=SUBJECT, what=f"{count} tests, {name}", short=name, values=samples["whole"])
        for name, samples in taken.items()
    }
    each = [
        Row(
            subject=f"{SUBJECT}: create, test and drop",
            what=name,
            values=samples["test"],
            targets=(Target(at_most=0.015),) if name == first else (),
        )
        for name, samples in taken.items()
    ]
    base = whole[first]
    return [base, *(replace(row, beside=base) for name, row in whole.items() if name != first), *each]


def _suites(home: Path, ground: Ground, count: int) -> dict[str, Callable[[], Sample]]:
    ours = {"test_it.py": _tests(count, "postgres_database", "postgres_database.connect()")}
    container = {
        "conftest.py": CONTAINER + TIMES,
        "test_it.py": "import psycopg\n" + _tests(count, "database", "psycopg.connect(database)"),
    }
    options = ["--postgres-template", "schema.sql"]
    local = child_environment({"XDG_STATE_HOME": str(home / "state")})
    docker = ground.client().environment()
    suites = {
        "ours, a local server": _suite(home, ours, local, "--postgres-runtime", "embedded", *options),
        "ours, on Docker": _suite(home, ours, docker, "--postgres-runtime", "docker", *options),
        "testcontainers, one container": _suite(home, container, docker | NO_REAPER),
    }
    if _install_other():
        pg_ctl = str(find_provider(None, "17").program("pg_ctl"))
        other = {
            "conftest.py": THEIRS.format(pg_ctl=pg_ctl) + TIMES,
            "test_it.py": _tests(count, "postgresql", "postgresql"),
        }
        python = [*_as_ordinary_user(), str(VENV / "bin" / "python")]
        suites["pytest-postgresql"] = _suite(home, other, local, command=python)
    return suites


def _tests(count: int, fixture: str, connect: str) -> str:
    return TEST.format(count=count, fixture=fixture, connect=connect)


def _suite(
    home: Path,
    files: Mapping[str, str],
    environment: Mapping[str, str],
    *options: str,
    command: Sequence[str] = (sys.executable,),
) -> Callable[[], Sample]:
    directory = Path(tempfile.mkdtemp(dir=home))
    for name, text in {"schema.sql": SCHEMA, "conftest.py": TIMES, **files}.items():
        (directory / name).write_text(text, encoding="utf-8")
    return partial(_run, [*command, "-m", "pytest", "-q", *options], directory, environment)


def _run(argv: list[str], directory: Path, environment: Mapping[str, str]) -> Sample:
    (directory / "times").unlink(missing_ok=True)

    def work() -> None:
        done = subprocess.run(
            argv, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]

    whole = clock(work)
    times = [float(line) for line in (directory / "times").read_text(encoding="ascii").split()]
    return {"whole": whole, "test": statistics.median(times)}


def _install_other() -> bool:
    """Tell whether the other plugin is there, in an environment of its own, installed if it can be had."""
    if not (VENV / "bin" / "pytest").exists():
        made = subprocess.run([sys.executable, "-m", "venv", str(VENV)], capture_output=True, check=False)
        installed = made.returncode == 0 and subprocess.run(
            [VENV / "bin" / "python", "-m", "pip", "install", "--quiet", *OTHER],
            capture_output=True,
            check=False,
        )
        if not installed or installed.returncode != 0:
            sys.stderr.write(f"{OTHER[0]} cannot be installed, and is not measured\n")
            return False
    return True


def _as_ordinary_user() -> list[str]:
    """Return how a server is started that refuses root."""
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
