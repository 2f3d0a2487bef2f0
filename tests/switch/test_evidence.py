"""A server that ends by itself leaves its code, the time and the kernel's kills, until the lease ends."""

from __future__ import annotations

import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.helpers.stages import wait_until
from tests.switch.child import SOON, Shell, busy_wait

if TYPE_CHECKING:
    from tests.switch.child import Switch


def end_server(switch: Switch) -> list[str]:
    """Let the server end as it was told, and return the evidence."""
    (switch.data / "go").touch()
    wait_until((switch.state / "exit").exists, seconds=SOON)
    return (switch.state / "exit").read_text().split()


@pytest.mark.parametrize(
    "how, code",
    [
        (("exit", "0"), 0),
        (("exit", "1"), 1),
        (("die", "ABRT"), 134),
        (("die", "KILL"), 137),
        # What a signal to the switch itself would look like.
        (("die", "USR2"), 140),
    ],
)
def test_the_code_is_the_servers_own(switch: Switch, how: tuple[str, str], code: int) -> None:
    switch.start_and_wait(*how)
    before = int(time.time())
    found, moment, kills = end_server(switch)
    assert (int(found), kills) == (code, "0")
    assert before <= int(moment) <= time.time()
    assert switch.look()


def test_a_server_that_is_not_even_there_leaves_evidence(switch: Switch) -> None:
    switch.start("/nowhere/postgres")
    wait_until((switch.state / "exit").exists, seconds=SOON)
    assert (switch.state / "exit").read_text().split()[0] == "127"


def test_the_evidence_stays_until_the_lease_ends(switches: list[Switch]) -> None:
    for switch in switches:
        switch.put({"lease": f"{int(time.time()) + 2} 0\n"})
        switch.start_and_wait("exit", "3")
        end_server(switch)
        switch.deliver({"lease": f"{int(time.time()) + 40} 0\n"})
    wait_until(lambda: all(35 <= switch.sleep <= 40 for switch in switches), seconds=SOON)
    for switch in switches:
        switch.deliver({"lease": f"{int(time.time())} 0\n"})
        assert switch.wait_ended() == 0
        assert (switch.state / "exit").read_text().startswith("3 ")


def test_a_stop_ends_it_though_the_server_is_dead(switch: Switch) -> None:
    switch.start_and_wait("exit", "3")
    end_server(switch)
    switch.signal(signal.SIGINT)
    assert switch.wait_ended() == 0


def test_with_a_dead_server_it_sleeps_as_before(switch: Switch) -> None:
    switch.put({"lease": "0 0\n"})
    switch.start_and_wait("exit", "3")
    end_server(switch)
    # The switch, its timer and what that sleeps by.
    wait_until(lambda: len(switch.processes()) == 3, seconds=SOON)
    used = switch.cpu()
    for _ in range(5):
        assert switch.look()
    assert switch.cpu() - used < 0.5


@pytest.mark.parametrize("file", ["memory.events", "memory/memory.oom_control"])
def test_the_kernels_kills_are_counted(switch: Switch, file: str) -> None:
    path = switch.cgroup / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("low 0\noom 4\noom_kill 3\noom_group_kill 0\n")
    switch.start_and_wait("die", "KILL")
    code, _, kills = end_server(switch)
    assert (code, kills) == ("137", "3")


@pytest.mark.parametrize("shell", [Shell("dash"), Shell("busybox")])  # bash has forgotten it then
def test_the_code_is_right_though_a_signal_comes_at_the_same_moment(switch: Switch) -> None:
    rng = random.Random(switch.shell.name)
    for _ in range(12):
        how = rng.choice([("die", "KILL", "137"), ("exit", "3", "3"), ("die", "ABRT", "134")])
        switch.start_and_wait(*how[:2])
        (switch.data / "go").touch()
        busy_wait(rng.uniform(0, 0.006))
        switch.signal(rng.choice([signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM]))
        wait_until((switch.state / "exit").exists, seconds=SOON)
        assert (switch.state / "exit").read_text().split()[0] == how[2]
        switch.signal(signal.SIGINT)
        switch.wait_ended()
