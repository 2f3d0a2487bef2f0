"""A fresh database for each test: our verbs beside plain SQL, and whole suites beside two other plugins."""

from __future__ import annotations

from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import psycopg

from benchmarks.ground import OFFICIAL
from benchmarks.local import (
    find_program,
    local_home,
    open_local,
    place_in_memory,
    removing_servers,
    temporary_directory,
)
from benchmarks.measuring import Row, Target, clock, take_turns
from benchmarks.suites import (
    SCHEMA,
    Suite,
    container_conftest,
    install_other,
    local_environment,
    process_conftest,
    write_suite,
)
from dev_postgres_mcp.databases.plans import Plan as RunPlan
from dev_postgres_mcp.databases.sources import parse_source
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.parsing import new_id
from dev_postgres_mcp.runtimes.embedded.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from benchmarks.ground import Ground
    from benchmarks.measuring import Plan, Sample, Samples
    from dev_postgres_mcp.databases.cloning import Clones

ROUNDS, SUITE_ROUNDS = 51, 5
VERBS = "a database from a template with 30 tables, in memory"
CREATE, DROP, BOTH = "create", "drop", "create and drop"
OURS, PLAIN = "ours", "plain `CREATE DATABASE`, a login each"
LOCAL, DOCKER = "ours, a local server in memory", "ours, on Docker"
CONTAINER, PROCESS = "testcontainers, one container", "pytest-postgresql, in memory"


def measure(ground: Ground, plan: Plan) -> list[Row]:
    """Clone and drop in this process, then run the suites in turns."""
    with open_clones() as clones:
        contenders = {OURS: partial(_clone, clones), PLAIN: partial(_create_plainly, clones, count())}
        rows = verb_rows(take_turns(contenders, plan.choose_rounds(ROUNDS), pause=0.02))
    tests = 5 if plan.quick else 100
    with (
        local_home() as home,
        removing_servers(home / "dev-postgres-mcp" / "embedded"),
        temporary_directory(place_in_memory()) as memory,
    ):
        suites = _write_suites(ground, home, memory, tests)
        return rows + suite_rows(take_turns(suites, plan.choose_rounds(SUITE_ROUNDS)), tests)


@contextmanager
def open_clones() -> Iterator[Clones]:
    """Yield a test run's databases as the plugin makes them, on a server of its own in memory."""
    with open_local(Storage.MEMORY) as app, temporary_directory(place_in_memory()) as project:
        (project / "schema.sql").write_text(SCHEMA, encoding="utf-8")
        run = RunPlan(
            run=new_id(),
            worker="main",
            project=project,
            spec=build_spec(app.defaults),
            sources=(parse_source("schema.sql", base=project),),
            cached=False,
        )
        with closing(app.servers.open(run)) as clones:
            yield clones


def verb_rows(taken: Samples) -> list[Row]:
    """Return a row for each half and one for both, ours beside plain SQL."""
    rows: list[Row] = []
    for measured in (CREATE, DROP, BOTH):
        plain = Row(subject=VERBS, what=f"{measured}, {PLAIN}", short="plain", values=taken[PLAIN][measured])
        targets = (Target(at_most=0.015),) if measured == BOTH else ()
        ours = Row(
            subject=VERBS,
            what=f"{measured}, {OURS}",
            values=taken[OURS][measured],
            beside=plain,
            targets=targets,
        )
        rows += [ours, plain]
    return rows


def suite_rows(taken: Samples, tests: int) -> list[Row]:
    """Return a row for each whole run and one for the middle test of each, beside our local server's."""
    rows: list[Row] = []
    for measured, subject in (
        ("whole", f"{tests} tests with a fresh database each, whole runs of pytest"),
        ("test", "one of these tests: create, log in, write, read, drop"),
    ):
        first = Row(subject=subject, what=LOCAL, short="ours, local", values=taken[LOCAL][measured])
        others = (name for name in taken if name != LOCAL)
        rows.append(first)
        rows += [
            Row(subject=subject, what=name, values=taken[name][measured], beside=first) for name in others
        ]
    return rows


def _clone(clones: Clones) -> Sample:
    made = []
    created = clock(lambda: made.append(clones.create()))
    dropped = clock(lambda: clones.drop(made[0]))
    return {CREATE: created, DROP: dropped, BOTH: created + dropped}


def _create_plainly(clones: Clones, numbers: Iterator[int]) -> Sample:
    """Do what a fixture without a plugin does: log in to create, and to drop."""
    name, (template, dsn) = f"plain_{next(numbers)}", (clones.template, clones.on("postgres").dsn)

    def run(statement: str) -> float:
        def work() -> None:
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(statement.encode())

        return clock(work)

    created = run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    dropped = run(f'DROP DATABASE "{name}" WITH (FORCE)')
    return {CREATE: created, DROP: dropped, BOTH: created + dropped}


def _write_suites(ground: Ground, home: Path, memory: Path, tests: int) -> dict[str, Callable[[], Sample]]:
    ours = ("-p", "dev_postgres_mcp.pytest_plugin", "--postgres-template", "schema.sql", "--postgres-runtime")
    local, docker = local_environment(home), ground.client().environment()
    for name in ("local", "docker"):
        write_suite(
            home / name, count=tests, fixture="postgres_database", connect="postgres_database.connect()"
        )
    write_suite(
        home / "container",
        count=tests,
        fixture="database",
        connect="psycopg.connect(database)",
        conftest=container_conftest(OFFICIAL, ground.mark),
    )
    no_reaper = {**docker, "TESTCONTAINERS_RYUK_DISABLED": "true"}
    suites = {
        LOCAL: Suite(directory=home / "local", options=(*ours, "embedded"), environment=local),
        DOCKER: Suite(directory=home / "docker", options=(*ours, "docker"), environment=docker),
        CONTAINER: Suite(directory=home / "container", options=(), environment=no_reaper),
    }
    if (python := install_other()) is not None:
        write_suite(
            home / "process",
            count=tests,
            fixture="postgresql",
            connect="postgresql",
            conftest=process_conftest(find_program("pg_ctl")),
        )
        options = ("-p", "pytest_postgresql.plugin", "--basetemp", str(memory / "run"))
        suites[PROCESS] = Suite(
            directory=home / "process", options=options, environment=local, command=python
        )
    return {name: suite.run for name, suite in suites.items()}
