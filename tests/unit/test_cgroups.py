"""Control groups of both versions, as the kernel's files show them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dev_postgres_mcp.runtimes.embedded import cgroups
from tests.helpers.stages import SYSTEM

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason=f"not on {SYSTEM}: there are none")
MEGABYTE = 1024**2


@pytest.fixture
def unified(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    return tmp_path


@pytest.fixture
def split(tmp_path: Path) -> Path:
    for controller in ("memory", "cpu"):
        (tmp_path / controller).mkdir()
    return tmp_path


def make(root: Path) -> list[Path]:
    made = cgroups.make_cgroups("one", memory=300 * MEGABYTE, cpus=0.5, root=str(root))
    return [Path(one) for one in made]


def test_version_two_has_one_group_with_both_limits(unified: Path) -> None:
    (group,) = make(unified)
    assert group == unified / "dev-postgres-mcp" / "one"
    assert (group / "memory.max").read_text() == str(300 * MEGABYTE)
    assert (group / "cpu.max").read_text() == "50000 100000"
    assert (group / "memory.swap.max").read_text() == "0"
    assert (group.parent / "cgroup.subtree_control").read_text() == "+memory +cpu"


def test_version_one_has_a_group_for_each_controller(split: Path) -> None:
    memory, cpu = make(split)
    assert (memory / "memory.limit_in_bytes").read_text() == str(300 * MEGABYTE)
    assert (cpu / "cpu.cfs_quota_us").read_text() == "50000"
    assert (cpu / "cpu.cfs_period_us").read_text() == "100000"


def test_where_none_can_be_made_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "memory").write_text("no directory")
    assert make(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["memory"]


def test_what_a_group_uses_is_without_the_cache_that_can_go(tmp_path: Path) -> None:
    (tmp_path / "memory.current").write_text(f"{50 * MEGABYTE}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {20 * MEGABYTE}\n")
    (tmp_path / "memory.events").write_text("oom 3\noom_kill 2\n")
    assert cgroups.used_memory([str(tmp_path)]) == 30 * MEGABYTE
    assert cgroups.count_oom_kills([str(tmp_path)]) == 2


def test_what_nobody_says_is_nothing(tmp_path: Path) -> None:
    assert cgroups.used_memory([str(tmp_path)]) == 0
    assert cgroups.count_oom_kills([str(tmp_path)]) == 0
