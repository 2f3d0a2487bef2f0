"""The settings of a throwaway server, the same on every runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

THROWAWAY_SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_locks_per_transaction": "256",
}
"""Speed over safety: what is in a throwaway server is lost with it anyway (PostgreSQL manual, 14.5)."""
SMALL_SETTINGS: Mapping[str, str] = {"wal_recycle": "off", "wal_init_zero": "off"}
"""No log is kept for later use: a snapshot would carry up to a gigabyte of it.  Known since PostgreSQL 12."""
_SMALL_SINCE = 12


def throwaway_settings(version: str) -> Mapping[str, str]:
    """Return the settings for a major version; one that is not known gets all of them."""
    old = version.isdigit() and int(version) < _SMALL_SINCE
    return THROWAWAY_SETTINGS if old else {**THROWAWAY_SETTINGS, **SMALL_SETTINGS}
