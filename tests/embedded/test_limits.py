"""Limits hold for all of a server where control groups can be made, and where they cannot the view says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from dev_postgres_mcp.runtimes.embedded.files import read_plan
from tests.embedded.test_users import ORDINARY
from tests.helpers.acts import conninfo_of, create
from tests.helpers.stages import MEGABYTE, build_app
from tests.integration.shell import surroundings

if TYPE_CHECKING:
    from tests.helpers.embedded import EmbeddedStage

GREEDY = "SELECT length(string_agg(repeat(md5(n::text), 100), '')) FROM generate_series(1, 200000) n"
"""Some hundreds of megabytes in one process."""


def test_root_bounds_a_server_by_a_control_group(stage: EmbeddedStage) -> None:
    app = build_app(stage)
    made = create(app, memory="200m", cpus=0.5)
    assert made.hint == ""
    cgroups = read_plan(str(stage.directory(made.container_id))).cgroups
    assert cgroups
    limits = {
        path.name: path.read_text().strip()
        for one in cgroups
        for path in Path(one).iterdir()
        if path.is_file()
        and path.stat().st_mode & 0o400
        and path.name in {"memory.limit_in_bytes", "memory.max", "cpu.cfs_quota_us", "cpu.max"}
    }
    assert str(200 * MEGABYTE) in limits.values()
    assert {"50000", "50000 100000"} & set(limits.values())
    usage = app.runtime.usage(made.container_id)
    assert usage.memory_limit == 200 * MEGABYTE
    assert 0 < usage.memory < 200 * MEGABYTE


def test_what_takes_more_than_it_may_is_ended_and_others_are_not(stage: EmbeddedStage) -> None:
    app = build_app(stage)
    made, other = create(app, memory="200m"), create(app)
    with pytest.raises(psycopg.Error), psycopg.connect(conninfo_of(made).dsn()) as client:
        client.execute(GREEDY.encode())
    stage.sql.login(conninfo_of(other))


def test_where_there_is_no_group_the_view_says_so_and_a_greedy_query_is_refused(tmp_path: Path) -> None:
    environment = surroundings(
        HOME=str(tmp_path), XDG_STATE_HOME=str(tmp_path), DEV_POSTGRES_MCP_RUNTIME="embedded"
    )

    def run(*arguments: str) -> str:
        done = subprocess.run(
            # Without the control groups of the machine in sight.
            [
                "unshare",
                "--mount",
                "sh",
                "-c",
                'mount -t tmpfs none /sys/fs/cgroup && mount -o remount,ro /sys/fs/cgroup && exec "$@"',
                "sh",
                *ORDINARY,
                sys.executable,
                "-m",
                "dev_postgres_mcp",
                *arguments,
            ],
            env=environment,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    made = json.loads(run("postgres", "create", "--memory", "200m", "--format", "json"))
    try:
        assert "no control group can be made" in made["hint"]
        with psycopg.connect(made["dsn"], autocommit=True) as client:
            with pytest.raises(psycopg.errors.OutOfMemory):
                client.execute(GREEDY.encode())
            assert client.execute("SELECT 1").fetchone() == (1,)
    finally:
        run("postgres", "drop", made["id"])
