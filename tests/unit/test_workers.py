"""Verbs on threads: what a cancelled call and an ending server do to them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import anyio
import pytest
from mcp.server.mcpserver.exceptions import ToolError

from dev_postgres_mcp.errors import Cancelled, InvalidInput
from dev_postgres_mcp.server.workers import Workers

if TYPE_CHECKING:
    from dev_postgres_mcp.deadline import Deadline

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Verb:
    """A verb that waits until it is cancelled and then takes `undoing` seconds to undo what it began."""

    def __init__(self, undoing: float = 0.0) -> None:
        self.began, self.over, self.hold = threading.Event(), threading.Event(), threading.Event()
        self._undoing = undoing

    def __call__(self, deadline: Deadline) -> None:
        self.began.set()
        try:
            while not self.hold.is_set():
                deadline.check("waiting")
                deadline.sleep(0.01)
        finally:
            time.sleep(self._undoing)
            self.over.set()

    async def wait_begun(self) -> None:
        while not self.began.is_set():  # noqa: ASYNC110 - a thread sets it
            await anyio.sleep(0.005)


async def expect_tool_error(workers: Workers, verb: Verb, *, undoable: bool) -> None:
    with pytest.raises(ToolError, match="cancelled"):
        await workers.run(verb, undoable=undoable)


async def test_a_verb_returns_and_its_errors_become_the_tools() -> None:
    workers = Workers()
    assert await workers.run(lambda _: 42) == 42

    def refuse(_: Deadline) -> None:
        raise InvalidInput("no", hint="do this")

    with pytest.raises(ToolError, match=r"(?s)no.*do this"):
        await workers.run(refuse)


async def test_an_ending_server_cancels_what_can_be_undone_and_waits_for_it() -> None:
    workers, verb = Workers(), Verb(undoing=0.2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: expect_tool_error(workers, verb, undoable=True))
        await verb.wait_begun()
        assert await anyio.to_thread.run_sync(workers.drain, 10.0) is True
        assert verb.over.is_set()


async def test_an_ending_server_does_not_wait_for_what_only_looks() -> None:
    workers, verb = Workers(), Verb()

    async def look() -> None:
        await workers.run(verb)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        await verb.wait_begun()
        started = time.monotonic()
        assert await anyio.to_thread.run_sync(workers.drain, 10.0) is True
        assert time.monotonic() - started < 5
        assert not verb.over.is_set()
        verb.hold.set()


async def test_an_ending_server_gives_up_on_an_undoing_that_takes_too_long() -> None:
    workers, verb = Workers(), Verb(undoing=0.5)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: expect_tool_error(workers, verb, undoable=True))
        await verb.wait_begun()
        assert await anyio.to_thread.run_sync(workers.drain, 0.05) is False


@pytest.mark.parametrize("undoable", [False, True])
async def test_an_ending_server_begins_nothing(undoable: bool) -> None:
    workers = Workers()
    assert workers.drain(0) is True
    ran: list[int] = []
    with pytest.raises(ToolError, match="the server is ending"):
        await workers.run(lambda _: ran.append(1), undoable=undoable)
    assert ran == []


async def test_a_cancelled_call_cancels_its_verb_which_is_still_waited_for() -> None:
    workers, verb = Workers(), Verb(undoing=0.2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: workers.run(verb, undoable=True))
        await verb.wait_begun()
        tasks.cancel_scope.cancel()
    assert not verb.over.is_set()
    assert workers.drain(10) is True
    assert verb.over.is_set()


def test_cancelled_is_an_error_of_ours() -> None:
    assert Cancelled("x").explain()
