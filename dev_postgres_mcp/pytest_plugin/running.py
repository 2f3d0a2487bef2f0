"""A test run: what its processes have in common, and who drops its server at the end.

Under pytest-xdist the controller does: it tells its workers the name of the run, and looks at the end whether one
of them has left the sign that there is a server.  Without it the one process is its own controller.
"""

from __future__ import annotations

import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from dev_postgres_mcp.pytest_plugin.options import Choices, read_choices

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.databases.plans import Plan

_RUN, _WORKER, _SIGN = "postgres_run", "workerid", "postgres_sign"


@dataclass(frozen=True, kw_only=True)
class Run:
    """This process's part in a test run.  The file `sign` is there as soon as a server may be."""

    name: str
    worker: str
    sign: Path
    choices: Choices
    controlling: bool


class _Node(Protocol):
    """A worker as pytest-xdist hands it over; that need not be installed."""

    config: pytest.Config
    workerinput: dict[str, object]


RUN = pytest.StashKey[Run]()
OUTLIVED = pytest.StashKey[bool]()
"""There when the server is to outlive the run, since something on it was kept."""


def pytest_configure(config: pytest.Config) -> None:
    """Name the run, or learn its name from the controller; complain about options before anything is collected."""
    given: dict[str, Any] | None = getattr(config, "workerinput", None)
    name = uuid.uuid4().hex[:12] if given is None else given[_RUN]
    sign = (
        Path(tempfile.gettempdir(), f"dev-postgres-mcp-pytest-{name}")
        if given is None
        else Path(given[_SIGN])
    )
    config.stash[RUN] = Run(
        name=name,
        worker="main" if given is None else given[_WORKER],
        sign=sign,
        choices=read_choices(config),
        controlling=given is None,
    )
    if given is None:
        from dev_postgres_mcp.pytest_plugin.keeping import KeptDatabases

        config.pluginmanager.register(KeptDatabases(config), "postgres-kept")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: _Node) -> None:
    """Tell a worker of pytest-xdist which run it belongs to."""
    run = node.config.stash[RUN]
    node.workerinput |= {_RUN: run.name, _SIGN: str(run.sign)}


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what this run has on the engine when all its processes have ended."""
    run = config.stash.get(RUN, None)
    if run is None or not run.controlling or not run.sign.exists():
        return
    run.sign.unlink(missing_ok=True)
    from dev_postgres_mcp.errors import DevPostgresError, EngineUnavailable

    try:
        _end(run, outlived=OUTLIVED in config.stash)
    except EngineUnavailable:
        return  # each test that wanted a database has said so
    except DevPostgresError as exc:
        if reporter := config.pluginmanager.get_plugin("terminalreporter"):
            reporter.write_line(
                f"postgres: the server of this run ends by its lease: {exc.message}", yellow=True
            )


def _end(run: Run, *, outlived: bool) -> None:
    """Drop the server of the run, unless something on it was kept; then sweep if that is due."""
    app = build_app(run)
    if not (outlived or run.choices.reuse):
        app.servers.drop(run.name)
    app.sweep_if_due()
    app.close()


def build_app(run: Run) -> App:
    """Return our program; touches no engine yet."""
    from dev_postgres_mcp.app import build_app as build
    from dev_postgres_mcp.settings import load_settings

    settings = load_settings(run.choices.arguments()).settings
    return build(settings, session="pytest", program="pytest")


def make_plan(app: App, run: Run, project: Path) -> Plan:
    """Return what this process asks for."""
    from dev_postgres_mcp.databases.plans import Plan
    from dev_postgres_mcp.instances import build_spec
    from dev_postgres_mcp.parsing import render_duration
    from dev_postgres_mcp.settings import read_surroundings

    choices = run.choices
    idle = None if choices.reuse else app.settings.pytest_idle_timeout
    no_cache = read_surroundings().ci if choices.no_cache is None else choices.no_cache
    return Plan(
        run=run.name,
        worker=run.worker,
        project=project,
        spec=build_spec(app.defaults, image=choices.image or None, idle_timeout=render_duration(idle)),
        sources=choices.sources,
        inputs=choices.inputs,
        reuse=choices.reuse,
        cached=not no_cache,
        rebuild=choices.rebuild,
        snapshot_ttl=app.settings.snapshot_ttl,
    )
