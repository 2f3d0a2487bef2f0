"""Many processes are killed at random moments; what may be left of them afterwards, and what must be."""

from __future__ import annotations

import random
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from tests.faults.second_engine import wait_until
from tests.faults.victims import choose, start

if TYPE_CHECKING:
    from collections.abc import Callable

    from dev_postgres_mcp.model import Instance
    from tests.faults.realm import Realm

TOGETHER = 3
"""Victims that live at one time."""
ENDS = 60.0
"""Seconds in which everything of the victims has ended: a lease, the time for a create, and a busy machine."""
NEEDED = ("dev-postgres-mcp/prepared", "postgres")


def check_killed_processes(realm: Realm, seeds: range) -> None:
    """Kill a process for each seed and judge what is left: nothing but a neighbour's."""
    neighbours = first, second, _ = settle(realm, 3)
    realm.take(first, "before")
    for batch in range(seeds.start, seeds.stop, TOGETHER):
        together = range(batch, min(batch + TOGETHER, seeds.stop))
        victims = [choose(realm.engine, seed, [first.id, second.id], "before") for seed in together]
        for victim in sorted(victims, key=lambda victim: victim.moment):
            victim.kill()
        print(*victims, sep="\n")
    realm.shorten_spares(2)
    check_mortality(realm, *neighbours)


def check_killed_engine(realm: Realm, seeds: range) -> None:
    """Kill the engine under processes at work; what lived on it is gone with it, and nothing else is left."""
    for seed in seeds:
        (source,) = settle(realm, 1)
        realm.take(source, "before")
        victims = [choose(realm.engine, seed * 10 + number, [source.id], "before") for number in range(3)]
        moment = time.monotonic() + random.Random(seed).uniform(0.3, 2.5)
        with ThreadPoolExecutor(len(victims)) as pool:
            killing = [pool.submit(victim.kill) for victim in victims]
            time.sleep(max(0.0, moment - time.monotonic()))
            realm.engine.kill()
            realm.engine.start()
            for one in killing:
                one.result()
        print("engine killed under", *victims, sep="\n  ")
        wait_until(lambda: not realm.running(), "the victims' instances have ended", ENDS)
        # What a killed engine forgets to put away for containers that it removes when it is back - a proxy that
        # listens, a line in its list that nobody can inspect - goes with its next start.
        realm.engine.restart()
        realm.app.runtime.close()
        check_mortality(realm)
        (again,) = settle(realm, 1)
        realm.drop(again)
    assert len(realm.engine.networks()) == 1


def check_short_leases(realm: Realm, count: int) -> None:
    """Make many short-lived instances in one process, kill it, and see them end without anybody's help."""
    neighbours = settle(realm, 1)
    crowd = ("-m", "tests.faults.victims", str(count), "")
    with (
        tempfile.TemporaryFile("w+") as complaints,
        start(realm.engine, 0, *crowd, stdout=subprocess.PIPE, stderr=complaints) as process,
    ):
        begun = time.monotonic()
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(count)]
        process.kill()
        complaints.seek(0)
        complaint = complaints.read()
    killed = time.monotonic()
    made = {line for line in lines if line and not line.startswith("failed")}
    assert "" not in lines, complaint
    assert len(made) > count / 2, lines
    realm.wait_for_ends(*neighbours, seconds=ENDS)
    print(
        f"{len(made)} of {count} instances in {killed - begun:.1f} s; "
        f"all had ended {time.monotonic() - killed:.1f} s after their process was killed"
    )
    check_mortality(realm, *neighbours)


def settle(realm: Realm, count: int) -> tuple[Instance, ...]:
    """Return instances of a neighbour, with something in them."""
    neighbours = tuple(realm.create() for _ in range(count))
    for neighbour in neighbours:
        realm.mark(neighbour, "before")
    return neighbours


def check_mortality(realm: Realm, *neighbours: Instance) -> None:
    """Wait for what ends by itself, sweep the rest, and judge: neighbours go on, nothing else is there."""
    # A restore of a neighbour may have been broken off.
    there = {f"mcp-postgres-{role}{one.id}" for one in neighbours for role in ("", "restore-")}
    wait_until(lambda: set(realm.running()) <= there, "the victims' instances have ended", ENDS)
    sweep_until(realm, lambda: realm.find_others(*neighbours))
    for neighbour in neighbours:
        wait_until(partial(realm.answers, neighbour), "a neighbour answers")
        realm.check_untouched(neighbour, "before")
        realm.drop(neighbour)
    sweep_until(realm, lambda: realm.find_others() or realm.find_images(*NEEDED))


def sweep_until(realm: Realm, find: Callable[[], str]) -> None:
    """Sweep until nothing is found any more: the engine may still be at work for those who are dead."""
    end = time.monotonic() + ENDS
    while True:
        for leftover in realm.sweep():
            print(f"swept {leftover.kind} {leftover.name}: {leftover.reason}")
        found = find()
        if not found:
            return
        assert time.monotonic() < end, found
