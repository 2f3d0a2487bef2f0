"""Several processes on one engine: each sees what the others do, and none trips over it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.wire import RawSession, text_of

if TYPE_CHECKING:
    from tests.acceptance.program import Program

pytestmark = [pytest.mark.wheel, pytest.mark.docker, pytest.mark.usefixtures("unmeasured")]


def listed_ids(session: RawSession) -> list[str]:
    listing = session.call("list_postgres_instances")
    assert listing["isError"] is False, text_of(listing)
    return [instance["id"] for instance in listing["structuredContent"]["instances"]]


def ask_drop(session: RawSession, instance: dict[str, Any]) -> int:
    return session.send("tools/call", name="drop_postgres_instance", arguments={"id": instance["id"]})


def test_what_a_drop_calls_gone_is_gone_also_when_another_process_drops_it_too(program: Program) -> None:
    with RawSession(program) as first, RawSession(program) as second:
        for _ in range(3):
            made = first.call("create_postgres_instance")["structuredContent"]
            requests = [(session, ask_drop(session, made)) for session in (first, second)]
            for session, request in requests:
                answer = session.wait_answer(request)["result"]
                assert answer["isError"] is False, text_of(answer)
                assert made["id"] not in listed_ids(session)


def test_looking_while_another_process_drops_finds_the_instance_or_says_that_it_is_gone(
    program: Program,
) -> None:
    with RawSession(program) as worker, RawSession(program) as watcher:
        for _ in range(3):
            made = worker.call("create_postgres_instance", name="comes and goes")["structuredContent"]
            request = ask_drop(worker, made)
            while not worker.answered(request):
                listed_ids(watcher)
                got = watcher.call("get_postgres_instance", id=made["id"])
                assert not got["isError"] or "hint: list the instances" in text_of(got), text_of(got)
                health = watcher.call("health_check_postgres", id=made["id"])
                assert not health["isError"] or "hint: list the instances" in text_of(health), text_of(health)
            assert worker.wait_answer(request)["result"]["structuredContent"]["outcome"] == "dropped"


def test_many_creates_of_one_client_run_side_by_side(program: Program) -> None:
    with RawSession(program) as session:
        requests = [
            session.send("tools/call", name="create_postgres_instance", arguments={}) for _ in range(4)
        ]
        answers = [session.wait_answer(request)["result"] for request in requests]
        assert [text_of(answer) for answer in answers if answer["isError"]] == []
        ports = {answer["structuredContent"]["port"] for answer in answers}
        assert len(ports) == len(requests)
        assert all(len(session.progress(request)) >= 2 for request in requests)


def test_looking_at_an_instance_while_it_is_being_frozen_stops_neither(program: Program) -> None:
    """A process that is started in a container while the engine freezes it keeps the engine from thawing it."""
    states = program.directory / ".local" / "state" / "dev-postgres-mcp" / "states"
    with RawSession(program) as worker, RawSession(program) as watcher:
        made = worker.call("create_postgres_instance")["structuredContent"]
        for _ in range(3):
            request = worker.send("tools/call", name="take_postgres_snapshot", arguments={"id": made["id"]})
            while not worker.answered(request):
                shutil.rmtree(
                    states, ignore_errors=True
                )  # so that the watcher has to look into the container
                got = watcher.call("get_postgres_instance", id=made["id"])
                assert got["isError"] is False, text_of(got)
            assert worker.wait_answer(request)["result"]["isError"] is False
        assert watcher.call("health_check_postgres", id=made["id"])["structuredContent"]["healthy"] is True
