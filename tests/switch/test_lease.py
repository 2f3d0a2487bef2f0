"""When an instance ends: at its lease, its hard end, its birth's end, and at nothing else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.helpers.stages import wait_until
from tests.switch.child import SOON, TICK, Shell

if TYPE_CHECKING:
    from tests.switch.child import Switch

LATE = 2.0
"""Seconds after its end within which an instance is gone."""


def in_seconds(seconds: int) -> int:
    return int(time.time()) + seconds


@pytest.mark.alone
def test_it_stops_the_server_when_the_lease_is_over(switches: list[Switch]) -> None:
    end = in_seconds(3)
    for switch in switches:
        switch.put({"lease": f"{end} 0\n"})
        switch.start()
    for switch in switches:
        assert switch.wait_ended() == 0
        assert end <= time.time() <= end + LATE
        assert (switch.data / "heard").read_text() == "SIGINT\n"
        assert not (switch.state / "exit").exists()


def test_it_ends_when_no_lease_ever_comes(switch: Switch) -> None:
    switch.start_and_wait(birth_end=in_seconds(40))
    assert 38 <= switch.sleep <= 40
    switch.start(birth_end=in_seconds(0))
    assert switch.wait_ended() == 0


def test_no_lease_goes_beyond_the_hard_end(switch: Switch) -> None:
    switch.put({"lease": "0 0\n"})
    switch.start_and_wait(hard_end=in_seconds(40))
    assert 38 <= switch.sleep <= 40
    switch.deliver({"lease": f"{in_seconds(400)} 0\n"})
    assert 38 <= switch.sleep <= 40
    switch.put({"lease": "0 0\n"})
    switch.start(hard_end=in_seconds(0))
    assert switch.wait_ended() == 0


def test_without_an_end_it_only_looks_at_the_clock_now_and_then(switch: Switch) -> None:
    switch.put({"lease": "0 0\n"})
    switch.start_and_wait(birth_end=in_seconds(0))
    assert switch.sleep == TICK


def test_it_sleeps_until_its_end_but_never_for_long(switch: Switch) -> None:
    switch.start_and_wait()
    assert switch.sleep == TICK
    switch.deliver({"lease": f"{in_seconds(40)} 0\n"})
    assert 38 <= switch.sleep <= 40


@pytest.mark.alone
def test_a_changed_lease_counts_at_once(switch: Switch) -> None:
    switch.start_and_wait()
    switch.deliver({"lease": f"{in_seconds(40)} 0\n"})
    assert switch.alive
    began = time.monotonic()
    switch.deliver({"lease": f"{in_seconds(0)} 0\n"})
    assert switch.wait_ended() == 0
    assert time.monotonic() - began < 0.5  # 0.3 and the server's own stop


def test_what_is_no_lease_changes_nothing(switch: Switch) -> None:
    switch.start_and_wait()
    switch.deliver({"lease": f"{in_seconds(40)} 0\n"})
    for content in (
        "",
        "\n",
        "1",
        "1 \n",
        " 1\n",
        "x 0\n",
        "1 x\n",
        "1 2 3\n",
        "-5 0\n",
        "08 0\n",
        "0x10 0\n",
        f"{'9' * 30} 0\n",
        "1.5 0\n",
        "$(kill -9 0) 0\n",
        "* *\n",
    ):
        switch.deliver({"lease": content})
        assert switch.alive, content
        assert 20 <= switch.sleep <= 40, content
    assert (switch.state / "lease").read_text() == "* *\n"


def test_a_lease_that_was_never_good_leaves_the_end_of_the_birth(switch: Switch) -> None:
    switch.put({"lease": "garbage\n"})
    switch.start_and_wait(birth_end=in_seconds(40))
    assert 38 <= switch.sleep <= 40


@pytest.mark.parametrize("kind", ["nothing", "directory"])
def test_a_lease_that_was_taken_away_goes_on(switch: Switch, kind: str) -> None:
    switch.start_and_wait(birth_end=in_seconds(500))
    switch.deliver({"lease": f"{in_seconds(40)} 0\n"})
    (switch.state / "lease").unlink()
    if kind == "directory":
        (switch.state / "lease").mkdir()
    assert switch.look()
    assert 38 <= switch.sleep <= 40


def test_a_spare_lives_as_long_as_its_pool_renews_it(switches: list[Switch]) -> None:
    for switch in switches:
        switch.put({"spare": f"{in_seconds(2)}\n"})
        switch.start_and_wait(birth_end=in_seconds(0))
        switch.deliver({"spare": f"{in_seconds(50)}\n"})
    wait_until(lambda: all(45 <= switch.sleep <= 50 for switch in switches), seconds=SOON)
    for switch in switches:
        switch.deliver({"spare": f"{in_seconds(0)}\n"})
        assert switch.wait_ended() == 0


def test_once_there_is_a_lease_the_spares_end_is_nothing(switch: Switch) -> None:
    switch.put({"spare": f"{in_seconds(30)}\n"})
    switch.start_and_wait()
    switch.deliver({"lease": f"{in_seconds(50)} 0\n"})
    switch.deliver({"spare": f"{in_seconds(0)}\n"})
    assert switch.alive


@pytest.mark.parametrize("shell", [Shell("dash")])  # the others know the time themselves
def test_a_clock_that_is_set_moves_the_end_with_it(switch: Switch) -> None:
    switch.put({"lease": f"{in_seconds(300)} 0\n"})
    switch.set_clock_ahead(0)
    switch.start_and_wait()
    switch.set_clock_ahead(-1000)
    assert switch.look()
    switch.set_clock_ahead(280)
    assert switch.look()
    assert 10 <= switch.sleep <= 20
    switch.set_clock_ahead(400)
    assert not switch.look()
