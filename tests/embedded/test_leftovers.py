"""What nobody lists any more, or not yet, is put away, too."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.errors import DiskFull, EngineFailed, InstanceNotFound, ServerNotReady
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.model import Lease
from dev_postgres_mcp.runtimes.embedded.cgroups import find_cgroups, make_cgroups
from dev_postgres_mcp.runtimes.embedded.failures import translating
from dev_postgres_mcp.runtimes.embedded.storage import Storage
from tests.helpers.acts import create, read_state
from tests.helpers.embedded import EmbeddedStage
from tests.helpers.stages import MEGABYTE, build_app, patience, run_together, wait_until

if TYPE_CHECKING:
    from dev_postgres_mcp.runtimes.base import Runtime
    from dev_postgres_mcp.runtimes.embedded.runtime import EmbeddedRuntime
    from tests.embedded.conftest import Body

AN_HOUR_AGO = time.time() - 3600


def test_what_a_dead_process_was_laying_out_or_removing_is_put_away_after_a_while(
    stage: EmbeddedStage, runtime: EmbeddedRuntime
) -> None:
    instances, images = stage.options.directory / "instances", stage.options.directory / "images"
    old, removed, young = (
        instances / f".new-{'a' * 64}",
        instances / f"{'b' * 64}.gone",
        instances / f".new-{'c' * 64}",
    )
    half = images / ".gone-d"
    for directory in (old, removed, young, half):
        (directory / "data").mkdir(parents=True)
    cgroups = make_cgroups("a" * 24, memory=64 * MEGABYTE, cpus=1)
    for directory in (old, removed):
        os.utime(directory, (AN_HOUR_AGO, AN_HOUR_AGO))
    assert runtime.list() == ()
    runtime.forget_all_but(())
    assert [directory.exists() for directory in (old, removed, young, half)] == [False, False, True, False]
    assert find_cgroups("a" * 24) == []
    assert not any(Path(group).exists() for group in cgroups)


def test_several_who_remove_and_several_who_write_at_once_agree(body: Body, stage: EmbeddedStage) -> None:
    removed: list[bool] = []

    def remove(runtime: Runtime) -> None:
        removed.append(runtime.remove(body.container.container_id))

    def extend(runtime: Runtime) -> None:
        for number in range(50):
            try:
                runtime.write_state(body.container, Lease(idle_timeout=600.0 + number), deadline=patience())
            except (InstanceNotFound, EngineFailed):
                return

    workers = [stage.runtime() for _ in range(6)]
    calls = [lambda one=one: remove(one) for one in workers[:3]]
    calls += [lambda one=one: extend(one) for one in workers[3:]]
    assert run_together(*calls) == []
    assert removed.count(True) == 1
    wait_until(lambda: body.left() == [])


def test_the_last_of_many_writes_is_whole(body: Body, stage: EmbeddedStage) -> None:
    before = read_state(stage.runtime(), body.container).record
    leases = [Lease(idle_timeout=600.0 + number) for number in range(8)]
    raised = run_together(
        *(
            lambda lease=lease: stage.runtime().write_state(body.container, lease, deadline=patience())
            for lease in leases
        )
    )
    assert raised == []
    state = read_state(stage.runtime(), body.container)
    assert state.record == before
    assert state.lease in leases


def test_a_place_that_cannot_be_written_is_said_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    stage = EmbeddedStage(root=tmp_path / "state" / "below", storage=Storage.DISK)
    app = build_app(stage)
    with pytest.raises(EngineFailed, match="Not a directory") as caught:
        app.manager.create(build_spec(app.defaults))
    assert "XDG_STATE_HOME" in caught.value.hint
    stage.close()


def test_a_full_disk_is_said_as_such() -> None:
    with pytest.raises(DiskFull, match="while copying"), translating("copying"):
        Path("/dev/full").write_text("x")


def test_a_cluster_with_settings_that_no_server_starts_with_is_evidence_and_then_gone(
    stage: EmbeddedStage,
) -> None:
    app = build_app(stage)
    with pytest.raises(ServerNotReady, match="exited before it was ready") as caught:
        create(app, settings={"shared_buffers": "1000TB"})
    assert "shared_buffers" in caught.value.explain()
    assert app.runtime.list() == ()
