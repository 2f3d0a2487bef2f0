"""An engine that is missing, down, forbidden, too old or no engine: each its own error."""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import (
    DeadlineExceeded,
    DevPostgresError,
    EngineDown,
    EngineNotFound,
    EnginePermissionDenied,
    EngineUnsupported,
)
from dev_postgres_mcp.runtimes.docker import DockerEnvironment, DockerOptions, DockerRuntime
from dev_postgres_mcp.runtimes.docker.beside import read_files
from dev_postgres_mcp.runtimes.docker.contexts import Address
from dev_postgres_mcp.runtimes.docker.discovery import find_engine
from tests.helpers.engines import HANG, HANG_UP, ScriptedEngine
from tests.helpers.stages import some_launch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev_postgres_mcp.runtimes.docker.discovery import Api

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="not on Windows: Python has no unix sockets there"
)


def reach(*urls: str) -> str:
    """Return the API version that is spoken with the first engine that answers."""
    api = find_engine(tuple(Address(url=url, source=f"place {n}") for n, url in enumerate(urls, 1))).api
    try:
        return str(api.api_version)
    finally:
        api.close()


def runtime_at(url: str, folder: Path) -> DockerRuntime:
    environment = DockerEnvironment(home=folder, docker_host=url)
    return DockerRuntime(
        DockerOptions(environment=environment, ports=range(15432, 15433), state_directory=folder)
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket's."""
    with tempfile.TemporaryDirectory(prefix="dpm-") as name:
        yield Path(name)


@pytest.mark.parametrize("version", ["1.41", "1.44", "1.52"])
def test_an_engine_is_spoken_to_in_its_own_version(version: str) -> None:
    with ScriptedEngine(api=version) as engine:
        assert reach(engine.url) == version


@pytest.mark.parametrize("version, minimum", [("1.52", "1.44"), ("1.60", "1.52")])
def test_an_engine_that_refuses_old_clients_is_spoken_to_in_its_own_version(
    version: str, minimum: str
) -> None:
    with ScriptedEngine(api=version, minimum=minimum) as engine:
        assert reach(engine.url) == version


@pytest.mark.parametrize("version", ["1.40", "1.12"])
def test_an_engine_that_is_too_old_is_told_from_one_that_is_down(version: str) -> None:
    with ScriptedEngine(api=version) as engine, pytest.raises(EngineUnsupported) as caught:
        reach(engine.url)
    assert "place 1" in caught.value.message
    assert "20.10" in caught.value.hint


def test_an_engine_that_refuses_every_client_says_so_in_its_own_words() -> None:
    text = "client version 1.24 is too old. Minimum supported API version is 1.44"
    refusal = (400, json.dumps({"message": text}))
    answers = {"/version": refusal, "/_ping": refusal}
    with ScriptedEngine(answers=answers) as engine, pytest.raises(EngineUnsupported) as caught:
        reach(engine.url)
    assert text in caught.value.message
    assert not caught.value.retryable


@pytest.mark.parametrize("body", ["", "hello", "{}", "[]", '{"ApiVersion": null}'])
def test_what_speaks_no_docker_is_unsupported(body: str) -> None:
    with (
        ScriptedEngine(answers={"/version": (200, body)}) as engine,
        pytest.raises(EngineUnsupported) as caught,
    ):
        reach(engine.url)
    assert str(engine.socket) in caught.value.message


def test_a_version_that_is_no_number_is_unsupported() -> None:
    with ScriptedEngine(api="soon") as engine, pytest.raises(EngineUnsupported):
        reach(engine.url)


def test_something_else_behind_the_socket_is_unsupported() -> None:
    with ScriptedEngine(answers={"/version": (404, "not here")}) as engine, pytest.raises(EngineUnsupported):
        reach(engine.url)


def test_an_engine_that_hangs_up_is_down() -> None:
    with ScriptedEngine(answers={"/version": HANG_UP}) as engine, pytest.raises(EngineDown) as caught:
        reach(engine.url)
    assert "does not answer" in caught.value.message
    assert "systemctl start docker" in caught.value.hint
    assert caught.value.retryable


@pytest.fixture
def sdk_leaks_a_socket() -> Iterator[None]:
    """docker 7.2 forgets a socket on which `connect` failed: let it be collected here, not in another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.usefixtures("sdk_leaks_a_socket")
def test_a_socket_that_nobody_listens_on_is_down(folder: Path) -> None:
    """What a killed engine leaves behind."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "docker.sock"))
    with pytest.raises(EngineDown) as caught:
        reach(f"unix://{folder}/docker.sock")
    assert "Connection refused" in caught.value.message


def test_a_tcp_address_that_nobody_listens_on_is_down() -> None:
    with pytest.raises(EngineDown, match=r"tcp://127\.0\.0\.1:1 \(place 1\)"):
        reach("tcp://127.0.0.1:1")


def test_a_socket_that_is_not_there_is_not_found(folder: Path) -> None:
    with pytest.raises(EngineNotFound, match="no such socket") as caught:
        reach(f"unix://{folder}/docker.sock")
    assert str(folder) in caught.value.message
    assert "https://docs.docker.com/get-docker/" in caught.value.hint


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "tcp://", "tcp://host:port", "://", "http+x://y"])
def test_what_is_no_address_is_one_of_our_errors(url: str) -> None:
    with pytest.raises((EngineNotFound, EngineDown)) as caught:
        reach(url)
    assert "place 1" in caught.value.message
    assert caught.value.hint


def test_everything_that_was_tried_is_listed_and_the_most_telling_decides(folder: Path) -> None:
    with ScriptedEngine(api="1.40") as old:
        urls = (f"unix://{folder}/a.sock", "tcp://127.0.0.1:1", old.url, f"unix://{folder}/b.sock")
        with pytest.raises(EngineUnsupported) as caught:
            reach(*urls)
    message = caught.value.message
    assert message.startswith("no Docker engine to work with; tried:")
    assert message.count("\n  - ") == 4
    assert [f"place {n}" in line for n, line in enumerate(message.splitlines()[1:], 1)] == [True] * 4
    assert "20.10" in caught.value.hint


def test_the_first_that_answers_is_taken_and_the_others_are_remembered(folder: Path) -> None:
    with ScriptedEngine(api="1.43") as engine:
        places = (
            Address(url=f"unix://{folder}/a.sock", source="first"),
            Address(url=engine.url, source="second"),
            Address(url=f"unix://{folder}/b.sock", source="third"),
        )
        found = find_engine(places)
        api, address, tried = found.api, found.address, found.tried
        api.close()
    assert address.source == "second"
    assert len(tried) == 1
    assert "first" in tried[0]


def test_a_socket_of_somebody_else_is_permission_denied() -> None:
    """Root may use every socket, so that root's run asks as nobody, in a process of its own."""
    question = textwrap.dedent("""
        import os, sys
        from dev_postgres_mcp.errors import EnginePermissionDenied
        from dev_postgres_mcp.runtimes.docker.contexts import Address
        from dev_postgres_mcp.runtimes.docker import discovery
        import docker, requests, urllib3, encodings.idna  # before nobody may read them any more
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        try:
            discovery.find_engine((Address(url=sys.argv[1], source="here"),))
        except EnginePermissionDenied as exc:
            print(exc.explain())
    """)
    with ScriptedEngine() as scripted:
        scripted.socket.parent.chmod(0o755)
        scripted.socket.chmod(0)
        answer = subprocess.run(
            [sys.executable, "-c", question, scripted.url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            # Nobody may not write what coverage has measured, and says so.
            env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
        )
    assert answer.stderr == ""
    assert f"{scripted.url} (here): permission denied" in answer.stdout
    assert "usermod -aG docker" in answer.stdout


def test_an_engine_may_come_back_without_a_restart_of_ours(folder: Path) -> None:
    engine = ScriptedEngine(answers={"/containers/json": (200, "[]")})
    runtime = runtime_at(engine.url, folder)
    with pytest.raises(EngineNotFound):
        runtime.list()
    with engine:
        assert runtime.list() == ()
        runtime.close()


def test_an_engine_that_hangs_up_in_mid_call_is_down_and_looked_for_again(folder: Path) -> None:
    answers = {"/containers/json": HANG_UP}
    with ScriptedEngine(answers=answers) as engine:
        runtime = runtime_at(engine.url, folder)
        with pytest.raises(EngineDown, match="stopped answering while listing containers"):
            runtime.list()
        answers["/containers/json"] = (200, "[]")
        assert runtime.list() == ()
        assert sum("/version" in path for path in engine.asked) == 2
        runtime.close()


class HungUpOn:
    """The SDK's client when a container ends between the two calls of an exec: it reads on from what is closed."""

    def exec_create(self, *_: object, **__: object) -> dict[str, str]:
        return {"Id": "e"}

    def exec_start(self, *_: object, **__: object) -> bytes:
        raise ValueError("I/O operation on closed file.")


def test_a_container_that_ends_in_the_middle_of_a_look_has_said_nothing() -> None:
    assert read_files(cast("Api", HungUpOn()), "c") == b""


@pytest.mark.parametrize("body", ["", "<html>a proxy's login page</html>", "{}"])
def test_an_answer_that_makes_no_sense_is_still_one_of_our_errors(folder: Path, body: str) -> None:
    with ScriptedEngine(answers={"/containers/json": (200, body)}) as engine:
        runtime = runtime_at(engine.url, folder)
        try:
            found = runtime.list()
        except DevPostgresError:
            found = ()
        assert found == ()
        runtime.close()


def test_a_start_ends_with_its_deadline_though_the_engine_hangs(folder: Path) -> None:
    with ScriptedEngine(answers={"/networks": HANG}) as engine:
        runtime = runtime_at(engine.url, folder)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="looking for our network"):
            runtime.start(some_launch(), deadline=Deadline(0.2))
        assert time.monotonic() - started < 10
        runtime.close()


def test_what_the_engine_answers_is_told_with_what_was_done(folder: Path) -> None:
    answers = {"/containers/json": (500, json.dumps({"message": "the disk is on fire"}))}
    with ScriptedEngine(answers=answers) as engine:
        runtime = runtime_at(engine.url, folder)
        with pytest.raises(DevPostgresError, match="while listing containers: the disk is on fire"):
            runtime.list()
        runtime.close()


def test_nothing_is_asked_before_the_first_call(folder: Path) -> None:
    with ScriptedEngine() as engine:
        runtime_at(engine.url, folder).close()
        assert engine.asked == []


@pytest.mark.parametrize("url", ["tcp://192.0.2.7:2375", "ssh://me@192.0.2.7"])
def test_a_remote_engine_needs_an_address_to_publish_on(folder: Path, url: str) -> None:
    runtime = runtime_at(url, folder)
    with pytest.raises(EngineUnsupported, match="another machine") as caught:
        runtime._bind_host(Address(url=url, source="setting docker_host"))
    assert "publish_host" in caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "unix:///var/run/docker.sock",
        "npipe:////./pipe/x",
        "tcp://localhost:2375",
        "tcp://127.0.0.1:1",
        "tcp://[::1]:1",
    ],
)
def test_an_engine_of_this_machine_publishes_on_loopback(folder: Path, url: str) -> None:
    address = Address(url=url, source="x")
    assert runtime_at(url, folder)._bind_host(address) == address.host == "127.0.0.1"


@pytest.mark.parametrize("url", ["tcp://192.0.2.7:2375", "ssh://me@192.0.2.7"])
def test_a_remote_engine_is_read_without_an_address_to_publish_on(url: str) -> None:
    assert Address(url=url, source="x").host == "192.0.2.7"


def test_a_password_in_an_address_is_in_no_message() -> None:
    with pytest.raises((EngineNotFound, EngineDown), match=r"tcp://me:\*\*\*@127\.0\.0\.1:1") as caught:
        reach("tcp://me:hunter2@127.0.0.1:1")
    assert "hunter2" not in caught.value.explain()


REMOVING = (409, json.dumps({"message": "removal of container abc is already in progress"}))


def test_who_comes_second_to_a_removal_waits_until_it_is_over(folder: Path) -> None:
    """Else a list right after a drop would still show it."""
    answers = {"/containers/abc": REMOVING, "/containers/abc/json": (200, "{}")}
    with ScriptedEngine(answers=answers) as engine:
        runtime = runtime_at(engine.url, folder)
        over = threading.Timer(
            0.3, lambda: answers.update({"/containers/abc/json": (404, '{"message": "No such container"}')})
        )
        started = time.monotonic()
        over.start()
        assert runtime.remove("abc") is False
        assert time.monotonic() - started >= 0.25
        over.join()
        runtime.close()


def test_a_removal_by_others_that_never_ends_is_waited_for_as_long_as_there_is_time(folder: Path) -> None:
    answers = {"/containers/abc": REMOVING, "/containers/abc/json": (200, "{}")}
    with ScriptedEngine(answers=answers) as engine:
        runtime = runtime_at(engine.url, folder)
        with pytest.raises(DeadlineExceeded, match="waiting for the removal of container abc"):
            runtime.remove("abc", deadline=Deadline(0.3))
        runtime.close()


def test_what_takes_a_person_is_the_docker_commands_business(folder: Path) -> None:
    can = runtime_at("unix:///x", folder).capabilities
    assert can.images
    assert (can.psql, can.unpause) == ("docker", "docker unpause {}")


def test_permission_denied_is_worth_no_retry() -> None:
    assert not EnginePermissionDenied("x").retryable
