"""Without a client for so long, an instance ends; and whoever only came by has been a client."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.switch.child import IDLE_TICK, Shell

if TYPE_CHECKING:
    from tests.switch.child import Switch

IDLE = 100


@pytest.fixture
def switch(switch: Switch) -> Switch:
    """A switch that has just been started with an idle timeout; nobody has connected yet."""
    switch.put({"lease": f"0 {IDLE}\n"})
    switch.start_and_wait()
    return switch


def pass_time(switch: Switch, seconds: int) -> bool:
    """Let time pass, and tell whether the switch still lives then."""
    switch.set_uptime(float((switch.proc / "uptime").read_text().split()[0]) + seconds)
    return switch.look()


def test_it_ends_when_nobody_has_connected_for_the_idle_timeout(switch: Switch) -> None:
    assert switch.sleep == IDLE_TICK
    assert pass_time(switch, IDLE - 1)
    assert switch.sleep == 1
    assert not pass_time(switch, 1)
    assert switch.wait_ended() == 0
    assert (switch.data / "heard").read_text() == "SIGINT\n"


@pytest.mark.parametrize("table", ["tcp", "tcp6"])
def test_a_connected_client_holds_it_off(switch: Switch, table: str) -> None:
    switch.set_clients(accepted=6, connected=True, table=table)
    for _ in range(3):
        assert pass_time(switch, IDLE + 1)


def test_a_short_connection_between_two_looks_holds_it_off(switch: Switch) -> None:
    switch.set_clients(accepted=6)
    assert pass_time(switch, IDLE + 1)
    assert pass_time(switch, IDLE - 1)
    assert not pass_time(switch, 1)


def test_the_timeout_never_begins_before_the_last_client_has_gone(switch: Switch) -> None:
    switch.set_clients(accepted=6, connected=True)
    assert switch.look()
    switch.set_clients(accepted=6)
    assert pass_time(switch, IDLE + 1)
    assert pass_time(switch, IDLE - 1)
    assert not pass_time(switch, 1)


def test_a_changed_lease_begins_it_anew(switch: Switch) -> None:
    assert pass_time(switch, IDLE - 1)
    switch.deliver({"lease": f"{int(time.time()) + 5000} {IDLE // 2}\n"})
    assert switch.alive
    assert pass_time(switch, IDLE // 2 - 1)
    assert not pass_time(switch, 1)


def test_the_same_lease_again_does_not(switch: Switch) -> None:
    assert pass_time(switch, IDLE - 1)
    switch.deliver({"lease": f"0 {IDLE}\n"})
    assert not pass_time(switch, 1)


def test_a_timeout_that_was_off_for_long_begins_when_it_is_on_again(switch: Switch) -> None:
    switch.deliver({"lease": "0 0\n"})
    assert pass_time(switch, 100 * IDLE)
    switch.deliver({"lease": f"0 {IDLE}\n"})
    assert switch.alive
    assert pass_time(switch, IDLE - 1)


@pytest.mark.parametrize("shell", [Shell("dash")])  # the others know the time themselves
@pytest.mark.parametrize("seconds", [-5000, 5000])
def test_it_does_not_look_at_a_clock_that_somebody_sets(switch: Switch, seconds: int) -> None:
    switch.set_clock_ahead(seconds)
    assert pass_time(switch, IDLE - 1)
    assert not pass_time(switch, 1)


def test_where_the_kernel_shows_no_counters_open_connections_still_count(switch: Switch) -> None:
    (switch.proc / "net" / "snmp").unlink()
    (switch.proc / "net" / "tcp6").unlink()
    assert pass_time(switch, IDLE + 1)  # the counter has changed, after all
    assert pass_time(switch, IDLE - 1)
    switch.set_clients(accepted=5, connected=True)
    assert pass_time(switch, IDLE + 1)


def test_by_the_kernels_own_clock_it_ends_after_a_second(switches: list[Switch]) -> None:
    for switch in switches:
        (switch.proc / "uptime").unlink()
        (switch.proc / "uptime").symlink_to("/proc/uptime")
        switch.put({"lease": "0 1\n"})
        switch.start()
    for switch in switches:
        assert switch.wait_ended() == 0
