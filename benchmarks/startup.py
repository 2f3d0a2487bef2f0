"""Commands as whole processes, beside a bare Typer program."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.ground import create, dropping, fill_pool, find_command, run_program
from benchmarks.measuring import Row, Target, take_turns

if TYPE_CHECKING:
    from benchmarks.ground import Client, Ground
    from benchmarks.measuring import Plan, Sample
    from dev_postgres_mcp.app import App

ROUNDS = 21
SUBJECT = "start-up of the command line, whole processes"
BARE = str(Path(__file__).with_name("bare.py"))
BARE_VERSION, BARE_HELP = "bare Typer: `version`", "bare Typer: `--help`"
VERSION, HELP = "`version`", "`--help`"
LIST, CREATE = "`postgres list`", "`postgres create`, from a spare"


def measure(ground: Ground, plan: Plan) -> list[Row]:
    """Run each command and its bare counterpart alternately."""
    client = ground.client()
    app, command = ground.open(client), find_command()
    with dropping(app, create(app)):
        taken = take_turns(
            {
                BARE_VERSION: partial(_run, client, sys.executable, BARE, "version"),
                BARE_HELP: partial(_run, client, sys.executable, BARE, "--help"),
                VERSION: partial(_run, client, *command, "version"),
                HELP: partial(_run, client, *command, "--help"),
                LIST: partial(_run, client, *command, "postgres", "list"),
                CREATE: lambda: _create(client, app, command),
            },
            plan.choose_rounds(ROUNDS),
        )
    rows = {
        what: Row(subject=SUBJECT, what=what, short="bare", values=taken[what]["process"])
        for what in (BARE_VERSION, BARE_HELP)
    }
    for what, beside, limit in (
        (VERSION, BARE_VERSION, 1.3),
        (HELP, BARE_HELP, 1.3),
        (LIST, BARE_VERSION, 3.0),
        (CREATE, BARE_VERSION, 3.0),
    ):
        bare = rows[beside]
        rows[what] = Row(
            subject=SUBJECT,
            what=what,
            values=taken[what]["process"],
            beside=bare,
            targets=(Target(at_most=limit, of=bare),),
        )
    return list(rows.values())


def _create(client: Client, app: App, command: list[str]) -> Sample:
    fill_pool(app)
    spares = {spare.id for spare in app.pool.status().spares}
    started = time.perf_counter()
    done = run_program(client, *command, "postgres", "create", "--format", "json")
    seconds = time.perf_counter() - started
    instance = json.loads(done)["id"]
    app.manager.drop([instance])
    assert instance in spares, "the instance was not made from a spare"
    return {"process": seconds}


def _run(client: Client, *command: str) -> Sample:
    started = time.perf_counter()
    run_program(client, *command)
    return {"process": time.perf_counter() - started}
