"""A stop reaches the server at any time, ends it in any case, and leaves nothing behind."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.helpers.stages import wait_until
from tests.switch.child import busy_wait

if TYPE_CHECKING:
    from tests.switch.child import Switch

pytestmark = pytest.mark.alone

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)


@pytest.mark.parametrize("stop", STOPS)
def test_any_stop_is_a_fast_shutdown_of_the_server(switch: Switch, stop: signal.Signals) -> None:
    switch.start_and_wait()
    began = time.monotonic()
    switch.signal(stop)
    assert switch.wait_ended() == 0
    assert time.monotonic() - began < 1
    assert (switch.data / "heard").read_text() == "SIGINT\n"
    assert not (switch.state / "exit").exists()


def test_a_stop_ends_a_server_that_cannot_hear_it_yet(switch: Switch) -> None:
    switch.start_and_wait("starting")
    began = time.monotonic()
    switch.signal(signal.SIGINT)
    assert switch.wait_ended() == 0
    assert time.monotonic() - began < 1
    assert not switch.servers()


def test_a_stop_is_not_confused_by_the_pid_file_of_another_server(switch: Switch) -> None:
    switch.start_and_wait("starting")
    (switch.data / "postmaster.pid").write_text(f"{switch.server + 1}\n")
    switch.signal(signal.SIGINT)
    assert switch.wait_ended(seconds=1) == 0


def test_a_stop_at_any_moment_of_the_start_ends_it(switch: Switch) -> None:
    rng = random.Random(switch.shell.name)
    switch.put({"lease": "0 0\n"})
    for _ in range(8):
        switch.start()
        busy_wait(rng.uniform(0, 0.06))
        switch.signal(rng.choice(STOPS))
        began = time.monotonic()
        switch.wait_ended()
        assert time.monotonic() - began < 2
        wait_until(lambda: not switch.servers(), seconds=1)


def test_stops_that_come_in_a_crowd_are_one_stop(switch: Switch) -> None:
    switch.start_and_wait()
    for _ in range(20):
        switch.signal(signal.SIGTERM)
        switch.signal(signal.SIGUSR1)
    assert switch.wait_ended() == 0


def test_a_stop_just_before_the_switch_falls_asleep_is_not_lost(switch: Switch) -> None:
    rng = random.Random(switch.shell.name)
    for _ in range(8):
        switch.start_and_wait()
        switch.signal(signal.SIGUSR1)
        busy_wait(rng.uniform(0, 0.006))
        switch.signal(signal.SIGTERM)
        assert switch.wait_ended(seconds=2) == 0


def test_a_server_that_does_not_stop_is_killed_in_time(switches: list[Switch]) -> None:
    for switch in switches:
        switch.start_and_wait("deaf")
    began = time.monotonic()
    for switch in switches:
        switch.signal(signal.SIGTERM)
    for switch in switches:
        assert switch.wait_ended(seconds=8) == 0
    wait_until(lambda: not any(switch.servers() for switch in switches), seconds=1)
    assert 3 < time.monotonic() - began < 8


def test_whoever_signals_all_processes_does_not_end_the_timer(switches: list[Switch]) -> None:
    end = int(time.time()) + 3
    for switch in switches:
        switch.put({"lease": f"{end} 0\n"})
        switch.start_and_wait()
        timer = {*switch.processes()} - {switch.process.pid, switch.server}
        assert timer
        for process in timer:
            os.kill(process, signal.SIGTERM)
            os.kill(process, signal.SIGHUP)
    for switch in switches:
        assert switch.wait_ended() == 0
