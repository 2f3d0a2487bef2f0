"""The environment of somebody else's process stays as it is; libpq does not see all of it."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.settings import hide_from_libpq

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def seen_by_c() -> Callable[[str], str | None]:
    """What C code such as libpq reads of the environment."""
    getenv = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None).getenv
    getenv.restype, getenv.argtypes = ctypes.c_char_p, [ctypes.c_char_p]

    def look(name: str) -> str | None:
        value: bytes | None = getenv(name.encode())
        return value.decode() if value is not None else None

    return look


def test_it_is_hidden_from_libpq_and_from_nobody_else(
    monkeypatch: pytest.MonkeyPatch, seen_by_c: Callable[[str], str | None]
) -> None:
    monkeypatch.setenv("PGSERVICE", "mine")
    with hide_from_libpq():
        with hide_from_libpq():
            assert seen_by_c("PGSERVICE") is None
        assert seen_by_c("PGSERVICE") is None, "another thread may still want it"
        assert os.environ["PGSERVICE"] == "mine"
    assert seen_by_c("PGSERVICE") == "mine"


def test_what_is_changed_meanwhile_is_what_is_seen_afterwards(
    monkeypatch: pytest.MonkeyPatch, seen_by_c: Callable[[str], str | None]
) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    monkeypatch.setenv("PGGEQO", "off")
    with hide_from_libpq():
        monkeypatch.setenv("PGTZ", "Europe/Rome")
        monkeypatch.delenv("PGGEQO")
    assert (seen_by_c("PGTZ"), seen_by_c("PGGEQO")) == ("Europe/Rome", None)
