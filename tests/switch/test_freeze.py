"""The server and all that it has started stand still while somebody copies the cluster, and go on afterwards."""

from __future__ import annotations

import os
import shutil
import sys
import time
from signal import SIGKILL, SIGTERM, SIGUSR1
from typing import TYPE_CHECKING

import pytest

from tests.helpers.stages import wait_until
from tests.switch.child import ID, SOON, state_of

if TYPE_CHECKING:
    from tests.switch.child import Switch

FAMILY = """\
trap : INT TERM
sh -c 'trap "" INT; while :; do sleep 0.01; done' &
echo $! >"$PGDATA/child"
: >"$PGDATA/written"
echo $$ >"$PGDATA/up"
while :; do echo . >>"$PGDATA/written"; sleep 0.01; done
"""
"""A server that writes all the time, and a process that it has started."""
LONGEST = 60


def ask(switch: Switch, seconds: int, key: str = "a") -> None:
    """Ask for that many seconds of standing still, or take it back."""
    put(switch, {f"freeze-{key}": f"{seconds}\n"})


def put(switch: Switch, content: dict[str, str]) -> None:
    parcel = switch.put(content)
    switch.signal(SIGUSR1)
    wait_until(lambda: not parcel.exists(), seconds=SOON)


def wait_frozen(switch: Switch) -> None:
    wait_until((switch.state / "frozen").exists, seconds=SOON)


def states(switch: Switch) -> set[str]:
    child = int((switch.data / "child").read_text())
    return {state_of(switch.server), state_of(child)}


def written(switch: Switch) -> int:
    return (switch.data / "written").stat().st_size


def goes_on(switch: Switch) -> bool:
    before = written(switch)
    wait_until(lambda: written(switch) > before + 10, seconds=SOON)
    return "T" not in states(switch)


def begin(switch: Switch) -> None:
    switch.start("/bin/sh", "-c", FAMILY)
    wait_until((switch.data / "up").exists, seconds=SOON)
    assert goes_on(switch)


def test_all_of_a_server_stand_still_until_that_is_taken_back(switch: Switch) -> None:
    begin(switch)
    ask(switch, 30)
    wait_frozen(switch)
    assert states(switch) == {"T"}
    before = written(switch)
    time.sleep(0.1)
    assert written(switch) == before
    ask(switch, 0)
    assert goes_on(switch)
    assert not (switch.state / "frozen").exists()
    assert not list(switch.state.glob("freeze-*"))


def test_a_server_of_whoever_died_goes_on_by_itself(switch: Switch) -> None:
    begin(switch)
    ask(switch, 2)
    wait_frozen(switch)
    wait_until(lambda: not (switch.state / "frozen").exists(), seconds=SOON)
    assert goes_on(switch)


def test_it_goes_on_when_the_last_of_several_is_through(switch: Switch) -> None:
    begin(switch)
    ask(switch, 30, "a")
    wait_frozen(switch)
    since = (switch.state / "frozen").stat().st_mtime_ns
    ask(switch, 30, "b")
    ask(switch, 0, "a")
    time.sleep(0.2)
    assert (switch.state / "frozen").stat().st_mtime_ns == since
    assert states(switch) == {"T"}
    ask(switch, 0, "b")
    assert goes_on(switch)


def test_whoever_asks_again_moves_the_end_on(switch: Switch) -> None:
    begin(switch)
    ask(switch, 2)
    wait_frozen(switch)
    since = (switch.state / "frozen").stat().st_mtime_ns
    ask(switch, 30)
    time.sleep(2.2)
    assert (switch.state / "frozen").stat().st_mtime_ns == since


def test_nobody_can_ask_for_more_than_a_minute_or_in_no_number(switch: Switch) -> None:
    begin(switch)
    ask(switch, LONGEST + 100)
    ask(switch, 30, "b c")  # a name with a space is a name
    wait_frozen(switch)
    ask(switch, 0, "b c")
    for word in ("soon", "", "9" * 30, "-1"):
        put(switch, {"freeze-a": f"{word}\n"})
    assert goes_on(switch)


def test_a_lease_that_is_over_waits_for_the_copy(switch: Switch) -> None:
    begin(switch)
    ask(switch, 30)
    wait_frozen(switch)
    put(switch, {"lease": f"{int(time.time()) - 10} 0\n"})
    time.sleep(0.3)
    assert switch.alive
    ask(switch, 0)
    assert switch.wait_ended() == 0


def test_a_stop_comes_through(switch: Switch) -> None:
    switch.start_and_wait()
    ask(switch, 30)
    wait_frozen(switch)
    began = time.monotonic()
    switch.signal(SIGTERM)
    assert switch.wait_ended() == 0
    assert time.monotonic() - began < SOON
    assert (switch.data / "heard").read_text() == "SIGINT\n"
    assert not switch.servers()


def test_a_server_that_has_ended_stands_still(switch: Switch) -> None:
    switch.start_and_wait("exit", "3")
    (switch.data / "go").touch()
    wait_until((switch.state / "exit").exists, seconds=SOON)
    ask(switch, 30)
    wait_frozen(switch)
    ask(switch, 0)
    wait_until(lambda: not (switch.state / "frozen").exists(), seconds=SOON)
    assert switch.alive


@pytest.mark.parametrize("name", ["a) b\nc", "a\n(b) R 1", "x (", "%s) T 0 \\n"])
def test_whatever_a_program_calls_itself_it_stands_still_and_the_switch_lives(
    switch: Switch, name: str
) -> None:
    program = switch.root / "bin" / name[:15]
    shutil.copy("/bin/sleep", program)
    switch.start(
        "/bin/sh",
        "-c",
        '"$0" 60 & echo $! >"$PGDATA/child"; echo $$ >"$PGDATA/up"; while :; do sleep 0.01; done',
        str(program),
    )
    wait_until((switch.data / "up").exists, seconds=SOON)
    ask(switch, 30)
    wait_frozen(switch)
    assert states(switch) == {"T"}
    ask(switch, 0)
    wait_until(lambda: "T" not in states(switch), seconds=SOON)
    assert switch.alive


def test_what_a_dead_server_leaves_is_let_go(switch: Switch) -> None:
    """They have to go on to see that it is dead."""
    begin(switch)
    ask(switch, 30)
    wait_frozen(switch)
    child = int((switch.data / "child").read_text())
    os.kill(switch.server, SIGKILL)
    wait_until((switch.state / "exit").exists, seconds=SOON)
    ask(switch, 0)
    wait_until(lambda: state_of(child) != "T", seconds=SOON)
    assert switch.alive


def test_a_server_that_starts_programs_all_the_time_stands_still(switch: Switch) -> None:
    """Who has begun to start one cannot stop before that one goes on."""
    code = "import os, subprocess\nopen(os.environ['PGDATA'] + '/up', 'w').write(str(os.getpid()))\n"
    code += "while True: subprocess.run(['/bin/true'])"
    switch.start(sys.executable, "-c", code)
    wait_until(lambda: (switch.data / "up").exists() and (switch.data / "up").read_text(), seconds=SOON)
    for _ in range(10):
        ask(switch, 30)
        wait_frozen(switch)
        assert state_of(switch.server) == "T"
        ask(switch, 0)
        wait_until(lambda: state_of(switch.server) != "T", seconds=SOON)


def test_a_server_that_is_restored_from_a_copy_does_not_stand_still_as_that_did(switch: Switch) -> None:
    switch.state.mkdir()
    for name, text in {"id": f"{ID}\n", "freeze-a": f"{int(time.time()) + 30}\n", "frozen": ""}.items():
        (switch.state / name).write_text(text)
    switch.put({"freeze-b": "30\n"})
    begin(switch)
    assert not (switch.state / "frozen").exists()
