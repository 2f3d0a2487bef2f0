"""What this client keeps of what it has read: good under its stamp only, the user's own, never needed."""

from __future__ import annotations

import os
import stat
import sys
import time
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.model import Evidence, Lease
from dev_postgres_mcp.runtimes.base import State
from dev_postgres_mcp.runtimes.docker.cache import StateCache
from tests.helpers.stages import run_together, some_record

if TYPE_CHECKING:
    from pathlib import Path

STATE = State(record=some_record(), lease=Lease(idle_timeout=60.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "states"


@pytest.fixture
def cache(folder: Path) -> StateCache:
    return StateCache(folder)


def test_what_was_kept_is_there_under_its_stamp(folder: Path, cache: StateCache) -> None:
    cache.put("c1", "monday", STATE)
    assert StateCache(folder).get("c1", "monday") == STATE


def test_what_has_changed_since_is_not_believed(cache: StateCache) -> None:
    cache.put("c1", "monday", STATE)
    assert cache.get("c1", "tuesday") is None
    assert cache.get("c1", "") == STATE, "of what cannot be asked the last that was known has to do"
    assert cache.get("c2", "") is None


def test_the_newest_takes_the_place_of_the_older(folder: Path, cache: StateCache) -> None:
    ended = State(record=STATE.record, ended=Evidence(exit_code=1))
    cache.put("c1", "monday", STATE)
    cache.put("c1", "tuesday", ended)
    assert cache.get("c1", "monday") is None
    assert cache.get("c1", "tuesday") == ended
    assert [path.name for path in folder.iterdir()] == ["c1.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: no such modes there")
def test_passwords_are_the_users_own(folder: Path, cache: StateCache) -> None:
    before = os.umask(0)
    try:
        cache.put("c1", "monday", STATE)
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "c1.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"7",
        b"[]",
        b'"x"',
        b"{}",
        b"\xff\xfe",
        b'{"stamp": "monday"}',
        b'{"stamp": "monday", "state": 7}',
    ],
)
@pytest.mark.parametrize("stamp", ["monday", ""])
def test_a_corrupt_file_is_nothing(folder: Path, cache: StateCache, content: bytes, stamp: str) -> None:
    cache.put("c1", "monday", STATE)
    (folder / "c1.json").write_bytes(content)
    assert cache.get("c1", stamp) is None
    cache.put("c1", "monday", STATE)
    assert cache.get("c1", "monday") == STATE


def test_a_file_cut_at_any_byte_is_nothing(folder: Path, cache: StateCache) -> None:
    cache.put("c1", "monday", STATE)
    whole = (folder / "c1.json").read_bytes()
    for end in range(len(whole)):
        (folder / "c1.json").write_bytes(whole[:end])
        assert cache.get("c1", "monday") is None


def test_what_belongs_to_no_container_is_forgotten(folder: Path, cache: StateCache) -> None:
    for container_id in ("c1", "c2", "c3"):
        cache.put(container_id, "monday", STATE)
    (folder / "c4.4711.new").write_bytes(b"left by a writer that was killed")
    hour_ago = time.time() - 3600
    for path in folder.iterdir():
        os.utime(path, (hour_ago, hour_ago))
    cache.put("c5", "monday", STATE)
    cache.keep_only(["c2", "c9"])
    kept = sorted(path.name for path in folder.iterdir())
    assert kept == ["c2.json", "c5.json"], "what is young may belong to a container that came after the look"


def test_a_folder_that_is_not_there_has_nothing_to_forget(cache: StateCache) -> None:
    cache.keep_only(["c1"])
    assert cache.get("c1", "") is None


def test_a_cache_that_cannot_be_written_costs_only_time(folder: Path, cache: StateCache) -> None:
    folder.parent.mkdir()
    folder.write_text("a file where the folder should be", encoding="utf-8")
    cache.put("c1", "monday", STATE)
    assert cache.get("c1", "monday") is None
    cache.keep_only([])


def test_writers_at_once_leave_one_whole_entry(folder: Path, cache: StateCache) -> None:
    def write() -> None:
        for _ in range(20):
            StateCache(folder).put("c1", "monday", STATE)
            assert cache.get("c1", "monday") == STATE

    assert run_together(*[write] * 6) == []
    assert cache.get("c1", "monday") == STATE
    assert [path.name for path in folder.iterdir()] == ["c1.json"]
