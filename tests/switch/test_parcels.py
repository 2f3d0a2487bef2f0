"""What is laid down beside a server gets in whole and only once; what came along in an image is thrown away."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.stages import wait_until
from tests.switch.child import ID, OTHER_ID, SOON, busy_wait

if TYPE_CHECKING:
    from tests.switch.child import Switch

QUICK = 0.3
"""Seconds within which the switch reacts."""
BIRTH = {"record": '{"id": 1}\n', "username": "me", "password": "s3cret", "lease": "0 0\n"}


def test_a_parcel_that_was_there_at_the_start_is_taken_in_before_the_server_starts(switch: Switch) -> None:
    parcel = switch.put(BIRTH)
    switch.start_and_wait(
        "/bin/sh", "-c", 'cp -r "$PGDATA/../state" "$PGDATA/seen"; touch "$PGDATA/up"; sleep 60'
    )
    seen = {file.name: file.read_text() for file in (switch.data / "seen").iterdir()}
    assert seen == {"id": f"{ID}\n", **{name: BIRTH[name] for name in ("record", "username", "lease")}}
    assert not parcel.exists()


def test_the_password_goes_to_the_secret_place_alone(switch: Switch) -> None:
    switch.put(BIRTH)
    switch.start_and_wait()
    switch.deliver({"password": "an0ther"})
    assert [file.name for file in switch.secret.iterdir()] == ["password"]
    password = switch.secret / "password"
    assert password.read_text() == "an0ther"
    assert password.stat().st_mode & 0o777 == 0o600
    everything = [file for file in switch.home.rglob("*") if file.is_file()]
    assert [file for file in everything if "an0ther" in file.read_text()] == [password]


def test_a_half_parcel_waits_until_it_is_whole(switch: Switch) -> None:
    switch.start_and_wait()
    half = switch.put({"record": "half"}, whole=False)
    switch.deliver({"lease": "0 0\n"})
    assert [file.name for file in half.iterdir()] == ["record"]
    assert not (switch.state / "record").exists()
    (half / "complete").touch()
    switch.deliver({})
    assert (switch.state / "record").read_text() == "half"
    assert not half.exists()


def test_two_parcels_are_taken_in_at_once(switch: Switch) -> None:
    switch.start_and_wait()
    first, second = switch.put({"record": "one"}), switch.put({"lease": "0 7\n"})
    switch.signal(signal.SIGUSR1)
    wait_until(lambda: not first.exists() and not second.exists(), seconds=QUICK)
    assert (switch.state / "record").read_text() == "one"
    assert (switch.state / "lease").read_text() == "0 7\n"


def test_an_empty_parcel_and_odd_names_are_taken_in(switch: Switch) -> None:
    switch.start_and_wait()
    switch.deliver({})
    switch.deliver({"a name with spaces": "x", "-f": "y", "$(reboot)": "z"})
    assert (switch.state / "$(reboot)").read_text() == "z"
    assert (switch.state / "-f").read_text() == "y"


def test_whoever_reads_the_state_meets_no_half_file(switch: Switch) -> None:
    switch.put(BIRTH)
    switch.start_and_wait()
    long = "x" * 200_000
    places = [switch.state / "record", switch.secret / "password"]
    for letter in "abcdefgh":
        parcel = switch.put({"record": letter + long, "password": letter + long})
        switch.signal(signal.SIGUSR1)
        while parcel.exists():
            assert {len(place.read_text()) for place in places} <= {len(long) + 1, 10, 6}


def test_what_came_along_in_an_image_is_thrown_away(switch: Switch) -> None:
    foreign = switch.put(BIRTH, owner=OTHER_ID)
    foreign_half = switch.put(BIRTH, owner=OTHER_ID, whole=False)
    own = switch.put({"record": "own"})
    switch.state.mkdir()
    for name, text in {"id": OTHER_ID, "record": "foreign", "lease": "1 0\n", "exit": "0 0 0\n"}.items():
        (switch.state / name).write_text(text)
    for name in ("postmaster.pid", "../../.s.PGSQL.5432", "../../.s.PGSQL.5432.lock"):
        (switch.data / name).write_text("1\n")
    switch.start_and_wait("starting")
    assert not any(path.exists() for path in (foreign, foreign_half, own))
    assert {file.name: file.read_text() for file in switch.state.iterdir()} == {
        "id": f"{ID}\n",
        "record": "own",
    }
    assert not list(switch.root.glob(".s.PGSQL*"))
    assert not (switch.data / "postmaster.pid").exists()
    assert switch.state.stat().st_mode & 0o777 == 0o700


def test_a_state_that_says_of_nobody_whose_it_is_is_thrown_away(switch: Switch) -> None:
    switch.state.mkdir()
    (switch.state / "record").write_text("whose?")
    switch.start_and_wait()
    assert not (switch.state / "record").exists()


def test_its_own_state_outlives_a_restart_but_for_the_evidence(switch: Switch) -> None:
    switch.put(BIRTH)
    switch.start_and_wait()
    switch.signal(signal.SIGINT)
    switch.wait_ended()
    half = switch.put({"record": "half"}, whole=False)
    (switch.state / "exit").write_text("0 1 0\n")
    switch.start_and_wait()
    assert {file.name for file in switch.state.iterdir()} == {"id", "record", "username", "lease"}
    assert (switch.state / "record").read_text() == BIRTH["record"]
    assert half.exists()


def test_a_parcel_whose_taking_in_was_cut_off_is_taken_in_after_a_restart(switch: Switch) -> None:
    parcel = switch.put(BIRTH)
    switch.state.mkdir()
    (switch.state / "id").write_text(f"{ID}\n")
    (parcel / "record").rename(switch.state / "record")
    switch.start_and_wait()
    assert (switch.state / "record").read_text() == BIRTH["record"]
    assert (switch.state / "username").read_text() == "me"
    assert not parcel.exists()


def test_without_its_password_the_entrypoint_is_not_sent_to_look_for_it(switch: Switch) -> None:
    tell = (
        'echo "${POSTGRES_PASSWORD_FILE-none}" >"$PGDATA/up.new"; mv "$PGDATA/up.new" "$PGDATA/up"; sleep 60'
    )
    switch.start_and_wait("/bin/sh", "-c", tell)
    assert (switch.data / "up").read_text() == "none\n"
    switch.put({"password": "s3cret"})
    switch.start_and_wait("/bin/sh", "-c", tell)
    assert Path((switch.data / "up").read_text().strip()).read_text() == "s3cret"


@pytest.mark.alone
def test_no_parcel_is_missed_whenever_its_signal_comes(switch: Switch) -> None:
    """Signals meet the switch at any point of its round, the moment before it falls asleep among them."""
    switch.put({"lease": "0 0\n"})
    switch.start_and_wait()
    rng = random.Random(switch.shell.name)
    slowest = 0.0
    for number in range(40):
        switch.signal(signal.SIGUSR1)
        busy_wait(rng.uniform(0, 0.006))
        parcel = switch.put({"record": str(number)})
        began = time.monotonic()
        switch.signal(signal.SIGUSR1)
        wait_until(lambda parcel=parcel: not parcel.exists(), seconds=SOON)  # type: ignore[misc]
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 1
    assert (switch.state / "record").read_text() == "39"


def test_many_wakings_leave_no_process_behind(switch: Switch) -> None:
    switch.start_and_wait()
    most = 0
    for _ in range(50):
        switch.signal(signal.SIGUSR1)
        most = max(most, len(switch.processes()))
    assert most < 100
    # The switch, its server, its timer and what that sleeps by.
    wait_until(lambda: len(switch.processes()) == 4, seconds=SOON)


def test_a_stop_keeps_the_password_for_the_next_start_and_no_longer(switch: Switch) -> None:
    switch.put(BIRTH)
    switch.start_and_wait()
    switch.signal(signal.SIGTERM)
    switch.wait_ended()
    (switch.secret / "password").unlink()
    switch.start_and_wait()
    assert (switch.secret / "password").read_text() == BIRTH["password"]
    assert (switch.secret / "password").stat().st_mode & 0o777 == 0o600
    assert (switch.state / "username").read_text() == BIRTH["username"]
    assert not list(switch.home.glob("inbox-*"))


def test_a_lease_that_ends_keeps_no_password(switch: Switch) -> None:
    switch.put(BIRTH | {"lease": "1 0\n"})
    switch.start()
    switch.wait_ended()
    assert not list(switch.home.glob("inbox-*"))
