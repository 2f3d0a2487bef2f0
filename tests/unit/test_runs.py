"""A command has an instance of its own for as long as it runs, whatever becomes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import Cancelled, InvalidInput, ServerNotReady
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.instances.runs import IDLE_TIMEOUT, conninfo_of, prepare_defaults, run_with_instance
from dev_postgres_mcp.model import Conninfo, Keep, Progress, Status
from tests.helpers.acts import create
from tests.helpers.stages import build_app, patience

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.runtimes.memory import MemoryWorld
    from tests.helpers.stages import MemoryStage


def ids(app: App) -> list[str]:
    return [instance.id for instance in app.manager.list().instances]


@pytest.mark.parametrize(
    "keep, code, kept",
    [
        (Keep.NEVER, 0, False),
        (Keep.NEVER, 3, False),
        (Keep.ON_FAILURE, 0, False),
        (Keep.ON_FAILURE, 3, True),
        (Keep.ALWAYS, 0, True),
        (Keep.ALWAYS, 3, True),
    ],
)
def test_an_instance_outlives_its_command_only_when_it_is_to_be_kept(
    app: App, keep: Keep, code: int, kept: bool
) -> None:
    seen: list[Conninfo] = []

    def command(conninfo: Conninfo) -> int:
        seen.append(conninfo)
        assert len(ids(app)) == 1, "it is there while the command runs"
        return code

    run = run_with_instance(app.manager, build_spec(app.defaults), command, keep=keep)
    assert (run.code, run.kept) == (code, kept)
    assert seen == [run.instance.conninfo]
    assert ids(app) == ([run.instance.id] if kept else [])


@pytest.mark.parametrize("keep", Keep)
def test_a_command_that_cannot_be_run_leaves_no_instance(app: App, keep: Keep) -> None:
    def refuse(_: Conninfo) -> int:
        raise InvalidInput("no")

    with pytest.raises(InvalidInput):
        run_with_instance(app.manager, build_spec(app.defaults), refuse, keep=keep)
    assert ids(app) == []


def test_what_is_cancelled_before_the_command_begins_leaves_no_instance(app: App, world: MemoryWorld) -> None:
    deadline = Deadline(60)

    def cancel(progress: Progress) -> None:
        if "login" in progress.message:
            deadline.cancel()

    with pytest.raises(Cancelled):
        run_with_instance(
            app.manager, build_spec(app.defaults), lambda _: 0, progress=cancel, deadline=deadline
        )
    assert ids(app) == []


def test_an_engine_that_is_lost_meanwhile_does_not_change_the_exit_code(app: App, world: MemoryWorld) -> None:
    def command(_: Conninfo) -> int:
        world.down = True
        return 3

    assert run_with_instance(app.manager, build_spec(app.defaults), command, deadline=patience()).code == 3


def test_a_killed_run_is_bounded_by_idleness_unless_the_settings_say_how(
    app: App, memory_stage: MemoryStage
) -> None:
    assert prepare_defaults(app.defaults).idle_timeout == IDLE_TIMEOUT
    told = build_app(memory_stage, idle_timeout="5m").defaults
    assert prepare_defaults(told) == told


def test_an_instance_that_takes_no_connections_is_refused(app: App) -> None:
    instance = create(app)
    assert conninfo_of(instance) == instance.conninfo
    for dead in (replace(instance, conninfo=None), replace(instance, status=Status.EXITED)):
        with pytest.raises(ServerNotReady):
            conninfo_of(dead)
