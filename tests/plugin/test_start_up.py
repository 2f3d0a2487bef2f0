"""What the plugin costs a suite that wants no database."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.plugin.conftest import load_little

if TYPE_CHECKING:
    import pytest

HEAVY = {"docker", "mcp", "psycopg", "pydantic", "requests", "filelock", "typer", "rich", "yaml"}
OURS = "dev_postgres_mcp"
LOOK = f"""
import json, sys

def test_nothing():
    pass

def pytest_unconfigure(config):
    known = {sorted(HEAVY)!r}
    loaded = [name for name in sys.modules if name.partition(".")[0] in known or name.startswith({OURS!r})]
    with open("loaded.json", "w") as file:
        json.dump(sorted(loaded), file)
"""


def test_importing_it_loads_four_small_modules_and_pytest() -> None:
    code = f"import sys, pytest; before = set(sys.modules); import {OURS}.pytest_plugin; print(*sorted(set(sys.modules) - before))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert answer.stdout.split() == [
        OURS,
        f"{OURS}.pytest_plugin",
        *(f"{OURS}.pytest_plugin.{name}" for name in ("fixtures", "keeping", "options", "running")),
    ]


def test_a_suite_without_databases_never_loads_more(
    offline: pytest.Pytester, clean: pytest.MonkeyPatch
) -> None:
    offline.makepyfile(conftest=LOOK, test_it="def test_nothing(): pass")
    for options in ((), ("-n", "1")):
        offline.runpytest_subprocess(*options, timeout=60).assert_outcomes(passed=1)
        loaded = set(json.loads((offline.path / "loaded.json").read_text()))
        assert {name for name in loaded if name.partition(".")[0] in HEAVY} == set()
        assert {name for name in loaded if name.startswith(OURS)} == {
            OURS,
            f"{OURS}.errors",
            f"{OURS}.pytest_plugin",
            *(f"{OURS}.pytest_plugin.{name}" for name in ("fixtures", "keeping", "options", "running")),
        }
        load_little(clean)  # the first time pytest finds it by its entry point
