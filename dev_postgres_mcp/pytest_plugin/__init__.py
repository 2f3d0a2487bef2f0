"""The pytest plugin: a database of its own for each test.

pytest loads this at each start, also of suites without any database: nothing is imported here but pytest's own,
and everything else with the first fixture.
"""

from dev_postgres_mcp.pytest_plugin.fixtures import (
    postgres_clones,
    postgres_database,
    postgres_dsn,
    postgres_instance,
)
from dev_postgres_mcp.pytest_plugin.keeping import pytest_runtest_makereport
from dev_postgres_mcp.pytest_plugin.options import pytest_addoption
from dev_postgres_mcp.pytest_plugin.running import pytest_configure, pytest_configure_node, pytest_unconfigure

__all__ = [
    "postgres_clones",
    "postgres_database",
    "postgres_dsn",
    "postgres_instance",
    "pytest_addoption",
    "pytest_configure",
    "pytest_configure_node",
    "pytest_runtest_makereport",
    "pytest_unconfigure",
]
