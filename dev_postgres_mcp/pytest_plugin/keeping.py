"""A test that failed keeps its database, and its report says how to look into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.pytest_plugin.running import OUTLIVED, RUN

if TYPE_CHECKING:
    from collections.abc import Generator

    from dev_postgres_mcp.databases import Database
    from dev_postgres_mcp.databases.cloning import Clones, Kept

HELD = pytest.StashKey[tuple["Clones", "Database"]]()
"""The database that a test has just now."""
FAILED = pytest.StashKey[bool]()
_ATTRIBUTE = "postgres_kept"
"""Of a report, where it travels from a worker to the controller: the way in, and what becomes of the server."""


def wants_to_keep(item: pytest.Item) -> bool:
    """Tell whether the database of this test stays."""
    keep = item.config.stash[RUN].choices.keep
    return keep == "always" or (keep == "on-failure" and FAILED in item.stash)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the database of a test that failed, as soon as that is known, and say so in the same report."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    if HELD in item.stash and wants_to_keep(item) and (report.failed or report.when == "teardown"):
        _keep(item, report)
    return report


class KeptDatabases:
    """What the tests of a run have kept, gathered where all reports come by."""

    def __init__(self, config: pytest.Config) -> None:
        """Nothing yet."""
        self._config = config
        self._ways: list[str] = []
        self._servers: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what this test has kept, and that the server must stay for it."""
        way, server = getattr(report, _ATTRIBUTE, ("", ""))
        if way:
            self._config.stash[OUTLIVED] = True
            self._ways.append(f"{report.nodeid}: {way}")
            self._servers = [server]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say once more what was kept, and for how long."""
        if self._ways:
            terminalreporter.section("postgres databases kept")
            for line in (*self._ways, *self._servers):
                terminalreporter.line(line)


def _keep(item: pytest.Item, report: pytest.TestReport) -> None:
    from dev_postgres_mcp.errors import DevPostgresError

    clones, database = item.stash[HELD]
    del item.stash[HELD]
    try:
        kept = clones.keep(database, f"kept by {item.nodeid}")
    except DevPostgresError as exc:
        report.sections.append(("postgres", f"the database could not be kept: {exc.message}"))
        return
    way = f"dev-postgres-mcp postgres psql {kept.instance_id} -- -d {kept.database}"
    lines = (
        f"the database of this test is kept: {way}",
        f"dsn: {kept.redacted_dsn} (password: dev-postgres-mcp postgres get {kept.instance_id} --format url)",
        _describe_end(kept),
    )
    report.sections.append(("postgres", "\n".join(lines)))
    setattr(report, _ATTRIBUTE, [way, lines[-1]])


def _describe_end(kept: Kept) -> str:
    """Return how long the server lives, and how to end it now."""
    limit = f", until {kept.until:%Y-%m-%d %H:%M:%S} UTC at most" if kept.until is not None else ""
    return (
        f"it stays until the next run of this project{limit}; "
        f"drop its server: dev-postgres-mcp postgres drop {kept.instance_id}"
    )
