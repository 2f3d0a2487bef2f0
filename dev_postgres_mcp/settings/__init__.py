"""Every setting, where it came from, and the only place that reads the environment."""

from dev_postgres_mcp.settings.loading import Loaded, load_settings
from dev_postgres_mcp.settings.schema import Settings
from dev_postgres_mcp.settings.shielding import hide_from_libpq
from dev_postgres_mcp.settings.surroundings import (
    Surroundings,
    child_environment,
    ignore_libpq_environment,
    read_surroundings,
)

__all__ = [
    "Loaded",
    "Settings",
    "Surroundings",
    "child_environment",
    "hide_from_libpq",
    "ignore_libpq_environment",
    "load_settings",
    "read_surroundings",
]
