"""Copies of data directories, on files that stand for a cluster."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.runtimes.embedded import copying
from tests.helpers.stages import SYSTEM

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason=f"not on {SYSTEM}: no local servers there")


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A few files as a cluster has them: data with its maps, maps alone, an empty one, and a pid file."""
    files = {
        "PG_VERSION": 3,
        "postmaster.pid": 80,
        "global/1262": 8192,
        "global/1262_fsm": 24576,
        "base/5/1259": 3 * 2**20 + 1,
        "base/5/1259_vm": 8192,
        "base/5/1259.1": 100,
        "base/5/9": 0,
        "pg_stat_tmp/left_over": 10,
    }
    for name, size in files.items():
        (tmp_path / "cluster" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cluster" / name).write_bytes(bytes(index % 251 for index in range(size)))
    return tmp_path / "cluster"


def names_in(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_a_copy_has_every_byte_but_nothing_of_the_server_that_ran_there(cluster: Path) -> None:
    copy = cluster.with_name("copy")
    copying.copy_cluster(str(cluster), str(copy))
    assert names_in(cluster) - names_in(copy) == {"postmaster.pid", "pg_stat_tmp/left_over"}
    assert all((copy / name).read_bytes() == (cluster / name).read_bytes() for name in names_in(copy))
    assert (copy / "pg_stat_tmp").is_dir()


@pytest.mark.skipif(not hasattr(os, "copy_file_range"), reason=f"not on {SYSTEM}: no copies inside")
def test_a_file_system_that_copies_nothing_inside_and_says_so_by_nothing_gets_plain_copies(
    cluster: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)
    copy = cluster.with_name("copy")
    copying.copy_cluster(str(cluster), str(copy))
    assert all((copy / name).read_bytes() == (cluster / name).read_bytes() for name in names_in(copy))


def test_a_trimmed_cluster_lacks_the_maps_and_nothing_else(cluster: Path) -> None:
    before = names_in(cluster)
    copying.trim_cluster(str(cluster))
    assert before - names_in(cluster) == {"global/1262_fsm", "base/5/1259_vm"}
