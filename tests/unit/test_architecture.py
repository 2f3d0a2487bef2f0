"""What must not be loaded is not loaded: help and version stay quick."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

HEAVY = {"docker", "mcp", "postgast", "psycopg", "pydantic", "requests"}


def loaded_by(module: str) -> set[str]:
    """Return the top-level packages that a fresh interpreter has loaded after importing `module`."""
    return {name.partition(".")[0] for name in modules_loaded_by(module)}


def modules_loaded_by(module: str) -> set[str]:
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(answer.stdout))


@pytest.mark.parametrize(
    "module",
    [
        "dev_postgres_mcp",
        "dev_postgres_mcp.model",
        "dev_postgres_mcp.errors",
        "dev_postgres_mcp.parsing",
        "dev_postgres_mcp.deadline",
        "dev_postgres_mcp.guard.judging",
        "dev_postgres_mcp.runtimes.base",
        "dev_postgres_mcp.runtimes.memory",
        "dev_postgres_mcp.instances",
    ],
)
def test_the_ground_and_the_verbs_load_no_foreign_library(module: str) -> None:
    assert loaded_by(module) & (HEAVY | {"yaml", "rich", "typer", "structlog"}) == set()


def test_the_command_line_starts_without_engine_server_and_database_libraries() -> None:
    assert importlib.util.find_spec("dev_postgres_mcp.cli.main") is not None
    assert loaded_by("dev_postgres_mcp.cli.main") & HEAVY == set()


def test_the_command_line_loads_a_group_of_commands_when_it_is_asked_for() -> None:
    loaded = modules_loaded_by("dev_postgres_mcp.cli.main")
    assert {
        f"dev_postgres_mcp.cli.{group}" for group in ("postgres", "data", "images", "mcp", "config")
    } & loaded == set()
    assert {"dev_postgres_mcp.model", "dev_postgres_mcp.parsing"} & loaded == set(), "what verbs speak"
    assert {"dev_postgres_mcp.cli.snapshots", "dev_postgres_mcp.cli.pool"} & modules_loaded_by(
        "dev_postgres_mcp.cli.postgres"
    ) == {"dev_postgres_mcp.cli.snapshots"}, "branch, try and their like live beside the group"


def test_settings_load_no_engine_server_and_database_libraries_and_none_for_files_that_nobody_named() -> None:
    assert loaded_by("dev_postgres_mcp.settings") & {"docker", "mcp", "psycopg", "yaml", "dotenv"} == set()


def test_the_program_is_put_together_without_the_database_library() -> None:
    assert loaded_by("dev_postgres_mcp.app") & {"mcp", "psycopg"} == set()
