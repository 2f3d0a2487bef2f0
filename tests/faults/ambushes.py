"""Each verb, killed at each of its steps; tests/faults does it at the main ones, tests/torture at all."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dev_postgres_mcp.runtimes.docker.freezing import FREEZE_SECONDS
from tests.faults.interception import Ambush, Door, Moment
from tests.faults.second_engine import wait_until
from tests.integration.queries import dsn_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev_postgres_mcp.model import Instance
    from tests.faults.realm import Realm

KILLED = -9
SOON = 20.0
"""Seconds in which an engine has done what a dead client asked for."""
SHORT = {"ttl": "5s", "create_timeout": 10, "spare_ttl": "3s", "max_instances": 1000}
"""What victims make ends soon, also when it was broken off."""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One kill: at which step of a verb, and when."""

    number: int
    step: str
    moment: Moment

    def __str__(self) -> str:
        return f"{self.number + 1}. {self.step.partition('?')[0][:60]}, {self.moment}"


class Hunter:
    """Has commands killed on their way to the engine."""

    def __init__(self, realm: Realm, door: Door, *, thorough: bool = False) -> None:
        """Kill at every moment when `thorough`, else at one of each step."""
        self.realm = realm
        self._door = door
        self.thorough = thorough

    def run(self, *arguments: str) -> list[str]:
        """Run a command that has to work; return what it changed on the engine, in this order."""
        self._door.begin()
        done = self.realm.engine.run(*self._through(arguments), **SHORT)
        assert done.returncode == 0, done.stderr
        return self._door.changes

    def ask(self, *arguments: str) -> Any:
        """Run a command that has to work; return its JSON."""
        done = self.realm.engine.run(*self._through(arguments), "--format", "json", **SHORT)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def kill(self, kill: Kill, *arguments: str) -> None:
        """Run a command that is killed."""
        ambush = Ambush(kill.number, kill.moment)
        self._door.begin(ambush)
        with self.realm.engine.begin(*self._through(arguments), **SHORT) as child:
            ambush.victim = child
            _, err = child.communicate(timeout=60)
        assert child.returncode == KILLED, f"{kill}: it lived on: {err}"

    def kills(self, steps: list[str]) -> Iterator[Kill]:
        """Yield the kills for a verb of these steps: only an upload can be cut off."""
        for number, step in enumerate(steps):
            moments = [Moment.SENT]
            if step.startswith("PUT"):
                moments.insert(0, Moment.CUT)
            if self.thorough:
                moments.append(Moment.ANSWERED)
            for moment in moments:
                yield Kill(number=number, step=step, moment=moment)

    def _through(self, arguments: tuple[str, ...]) -> tuple[str, ...]:
        return "--set", f"docker_host={self._door.address}", *arguments


def kill_restores(hunter: Hunter) -> None:
    """Kill restores; the old one is left, or a sweep brings up the new one."""
    realm = hunter.realm
    source = realm.create()
    realm.mark(source, "before")
    hunter.run("postgres", "snapshot", "take", source.id, "before")
    steps = hunter.run("postgres", "restore", source.id, "before")
    stop = next(number for number, step in enumerate(steps) if "/kill?" in step)
    assert 0 < stop < len(steps) - 1, steps
    for kill in hunter.kills(steps):
        realm.mark(source, "after")
        old = container_of(realm, source)
        hunter.kill(kill, "postgres", "restore", source.id, "before")
        # The engine finishes what it was asked for.
        if kill.number >= stop:
            wait_gone(realm, old)
        else:
            wait_until(lambda: has_restoring(realm, source), "the new one is made", SOON)
        wait_until(lambda: is_back(realm, source), f"{source.id} is back after {kill}", SOON)
        kept = "after" if kill.number < stop else "before"
        print(f"restore killed at {kill}: {kept}")
        realm.check_untouched(source, kept)
    realm.drop(source)
    hunter.run("postgres", "snapshot", "delete", "before", "--force")


def kill_takes(hunter: Hunter) -> None:
    """Kill takes in the middle of a long commit; the source goes on and the snapshot is whole or not there."""
    realm = hunter.realm
    source = realm.create()
    realm.mark(source, "kept")
    realm.run(dsn_of(source), "CREATE TABLE much AS SELECT md5(i::text) FROM generate_series(1, 1000000) i")
    steps = hunter.run("postgres", "snapshot", "take", source.id, "whole")
    hunter.run("postgres", "snapshot", "delete", "whole")
    outcomes = set()
    for kill in hunter.kills(steps):
        if kill.number > steps.index(next(step for step in steps if "/tag?" in step)) and not hunter.thorough:
            break  # what follows lets the source go on sooner, and nothing else
        hunter.kill(kill, "postgres", "snapshot", "take", source.id, "half")
        began = time.monotonic()
        realm.wait_thawed(source, FREEZE_SECONDS + SOON)
        silent = time.monotonic() - began
        realm.check_untouched(source, "kept")
        whole = "half" in names(hunter)
        outcomes.add(whole)
        assert not (whole and kill.step.startswith("POST /commit")), "nobody has seen yet whether it is whole"
        if whole:
            branch = realm.branch("half")
            assert realm.rows(dsn_of(branch), "SELECT count(*) FROM much") == [(1_000_000,)]
            hunter.run("postgres", "snapshot", "delete", "half", "--force")
        print(f"take killed at {kill}: whole then: {whole}; the source was silent for {silent:.1f} s more")
    assert outcomes == {True, False}
    realm.drop(source)


def kill_branches(hunter: Hunter) -> None:
    """Kill branches of an instance; it goes on, and what they left ends by itself or by a sweep."""
    realm = hunter.realm
    source = realm.create()
    realm.mark(source, "kept")
    for kill in hunter.kills(hunter.run("postgres", "branch", source.id)):
        hunter.kill(kill, "postgres", "branch", source.id)
        realm.wait_thawed(source, FREEZE_SECONDS + SOON)
        realm.check_untouched(source, "kept")
        print(f"branch killed at {kill}: the source goes on")
    realm.drop(source)


def kill_creates(hunter: Hunter) -> None:
    """Kill creates; the next one works."""
    # The first one makes the prepared image.
    hunter.realm.drop(hunter.realm.create())
    for kill in hunter.kills(hunter.run("postgres", "create")):
        hunter.kill(kill, "postgres", "create")
        print(f"create killed at {kill}")


def kill_prepares(hunter: Hunter) -> None:
    """Kill the making of a prepared image; there is none then or a whole one."""
    realm = hunter.realm
    realm.forget_images()
    steps = hunter.run("image", "prepare")
    for kill in hunter.kills(steps):
        realm.drop_images()
        hunter.kill(kill, "image", "prepare")
        made = hunter.ask("image", "list")["images"]
        if made:
            hunter.run("postgres", "create")
        print(f"prepare killed at {kill}: {len(made)} image then")


def kill_claims(hunter: Hunter) -> None:
    """Kill claimants; a half-claimed spare ends by its keeper's last word."""
    for moment in (Moment.SENT, Moment.ANSWERED):
        hunter.run("postgres", "pool", "fill", "--size", "1", "--ttl", "10s")
        kill = Kill(number=0, step="rename", moment=moment)
        hunter.kill(kill, "postgres", "create")
        print(f"claim killed at {kill}")


def kill_drops(hunter: Hunter) -> None:
    """Kill drops of a branch; it is gone all the same, and its image is left to the sweep."""
    realm = hunter.realm
    source = realm.create()
    first = hunter.ask("postgres", "branch", source.id, "--ttl", "1h")
    for kill in hunter.kills(hunter.run("postgres", "drop", first["id"], "--force")):
        branch = hunter.ask("postgres", "branch", source.id, "--ttl", "1h")
        hunter.kill(kill, "postgres", "drop", branch["id"], "--force")
        wait_gone(realm, branch["container_id"])
        print(f"drop killed at {kill}: gone")
    realm.drop(source)


def is_back(realm: Realm, instance: Instance) -> bool:
    """Sweep, and tell whether an instance answers again under its old dsn."""
    realm.sweep()
    return realm.state(instance) == "running" and realm.answers(instance)


def container_of(realm: Realm, instance: Instance) -> str:
    """Return the id of the container that has an instance's name now."""
    name = f"name=^/mcp-postgres-{instance.id}$"
    return realm.engine.docker("ps", "--all", "--quiet", "--no-trunc", "--filter", name)


def has_restoring(realm: Realm, instance: Instance) -> bool:
    """Tell whether there is a container that is to take the place of an instance's."""
    return f"mcp-postgres-restore-{instance.id}" in realm.engine.containers()


def wait_gone(realm: Realm, container_id: str) -> None:
    """Wait until the engine has done away with a container."""
    everything = ("ps", "--all", "--quiet", "--no-trunc")
    wait_until(lambda: container_id not in realm.engine.docker(*everything), f"{container_id} is gone", SOON)


def names(hunter: Hunter) -> list[str]:
    """Return the names of all snapshots."""
    return [one["name"] for one in hunter.ask("postgres", "snapshot", "list")["snapshots"]]
