"""One server for all processes of a test run, found again by its labels; it ends with the run or by its lease."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from dev_postgres_mcp.databases.cloning import Clones, find_left_over, find_living_runs
from dev_postgres_mcp.databases.plans import PROJECT_LABEL, REUSE_LABEL, RUN_LABEL
from dev_postgres_mcp.databases.templates import BUILDING_PREFIX, TEMPLATE_PREFIX, ensure_template
from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import InvalidInput, LoginFailed, ServerNotReady
from dev_postgres_mcp.model import Instance, Progress, Status
from dev_postgres_mcp.parsing import render_duration
from dev_postgres_mcp.runtimes.turns import take_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dev_postgres_mcp.databases.building import Builder
    from dev_postgres_mcp.databases.plans import Plan
    from dev_postgres_mcp.databases.stock import Stock
    from dev_postgres_mcp.databases.templates import TemplateKey
    from dev_postgres_mcp.instances.creation import Creator
    from dev_postgres_mcp.instances.manager import InstanceManager
    from dev_postgres_mcp.model import Conninfo
    from dev_postgres_mcp.sql.base import Sql
    from dev_postgres_mcp.sql.database_base import DatabaseSql

log = logging.getLogger(__name__)

LEAST_LEFT = timedelta(hours=1)
"""A kept server that has less to live, and may not live longer, is not used for another run."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What the verbs on the servers of test runs work with.

    `locks` is where the processes of this machine take turns; `shield` keeps out of logins what only the
    environment could say.
    """

    manager: InstanceManager
    creator: Creator
    stock: Stock
    builder: Builder
    sql: Sql
    databases: DatabaseSql
    locks: Path
    shield: Callable[[], AbstractContextManager[None]]


class Servers:
    """Open and drop the servers of test runs.  Keeps nothing: what there is, is on the engine."""

    def __init__(self, world: World) -> None:
        """Work in this world."""
        self._world = world

    def open(self, plan: Plan) -> Clones:
        """Return where this process of a run makes its databases: on the run's server, its template built.

        The first process of a run makes both, the others wait for it.  When that fails, the next one tries.
        """
        world = self._world
        with (
            world.shield(),
            self._turn(f"project-{_digest(str(plan.project))}", "starting a server for tests"),
        ):
            image = world.creator.ensure_base(plan.spec.image, progress=_tell, deadline=Deadline(inf))
            present = world.manager.list().instances
            found = self._find(plan, image.id, present)
            if found is not None:
                clones = self._connect(plan, found, image.id)
                with _closing_on_failure(clones):
                    if plan.reuse:
                        self._tidy(plan, clones)
                    self._ensure_template(plan, clones, plan.template_key(image.id))
                return clones
            self._drop_abandoned(plan, present)
            return self._start(plan, image.id)

    def drop(self, run: str) -> None:
        """Drop the servers of a run, except what serves the next run too."""
        ours = [
            one.id
            for one in self._world.manager.list().instances
            if one.labels.get(RUN_LABEL) == run and REUSE_LABEL not in one.labels
        ]
        self._world.manager.drop(ours)

    def _find(self, plan: Plan, image_id: str, present: Sequence[Instance]) -> Instance | None:
        """Return the server that is there already, the newest of several."""
        fitting = [
            one
            for one in present
            if one.status is Status.READY and one.conninfo is not None and plan.fits(one.labels, image_id)
        ]
        return self._lengthen(plan, fitting[-1]) if fitting and plan.reuse else next(reversed(fitting), None)

    def _lengthen(self, plan: Plan, instance: Instance) -> Instance | None:
        """Return the kept server with a new lease; None when it may not live long enough for another run."""
        try:
            return self._world.manager.extend(instance.id, ttl=render_duration(plan.spec.ttl))
        except InvalidInput:
            end = instance.lease.expires_at
            return instance if end is None or end - datetime.now(UTC) > LEAST_LEFT else None

    def _start(self, plan: Plan, image_id: str) -> Clones:
        """Make the server, from a snapshot with the template in it if there is one."""
        labels = {**plan.spec.labels, **plan.labels(image_id)}
        plan = replace(plan, spec=replace(plan.spec, labels=labels))
        key = plan.template_key(image_id)
        if key is None or not plan.lasting:
            return self._start_on(plan, self._create(plan), image_id, key)
        world = self._world
        with self._turn(f"template-{key.digest}", "building the same template"):
            branch = None if plan.rebuild else world.stock.branch(key.digest, plan.spec, progress=_tell)
            if branch is not None:
                return self._start_on(plan, branch, image_id, key)
            clones = self._start_on(plan, self._create(plan), image_id, key)
            with _closing_on_failure(clones):
                world.stock.keep(clones.instance.id, key.digest, project=plan.project, ttl=plan.snapshot_ttl)
            return clones

    def _create(self, plan: Plan) -> Instance:
        return self._world.manager.create(plan.spec, progress=_tell)

    def _start_on(self, plan: Plan, instance: Instance, image_id: str, key: TemplateKey | None) -> Clones:
        clones = self._connect(plan, instance, image_id)
        with _closing_on_failure(clones):
            self._ensure_template(plan, clones, key)
        return clones

    def _connect(self, plan: Plan, instance: Instance, image_id: str) -> Clones:
        key = plan.template_key(image_id)
        return Clones(
            plan,
            instance,
            _conninfo_of(instance),
            sql=self._world.databases,
            template=key.name if key is not None else "",
            settle=lambda one: one if plan.reuse else self._world.manager.extend(one.id, idle_timeout="none"),
        )

    def _ensure_template(self, plan: Plan, clones: Clones, key: TemplateKey | None) -> None:
        def build(name: str) -> None:
            self._world.builder.build(plan.sources, clones.on(name), directory=plan.project)

        if key is not None:
            ensure_template(clones.session, key, build)

    def _tidy(self, plan: Plan, clones: Clones) -> None:
        """Remove from a kept server what runs that are over left on it, and templates that nobody uses."""
        living = find_living_runs(clones.session)
        for name in find_left_over(clones.session, living):
            clones.session.drop(name)
        if living == {plan.run}:
            for one in clones.session.databases():
                if one.name.startswith((TEMPLATE_PREFIX, BUILDING_PREFIX)) and one.name != clones.template:
                    clones.session.drop_template(one.name)

    def _drop_abandoned(self, plan: Plan, present: Sequence[Instance]) -> None:
        """Drop the servers of this project's earlier runs: what was kept is kept until the next run."""
        others = [
            one
            for one in present
            if one.labels.get(PROJECT_LABEL) == str(plan.project) and REUSE_LABEL not in one.labels
        ]
        self._world.manager.drop([one.id for one in others if self._is_abandoned(one)])

    def _is_abandoned(self, instance: Instance) -> bool:
        """Tell whether nobody is connected: every run has a session open as long as it is alive."""
        if instance.status is Status.EXITED or instance.conninfo is None:
            return instance.status is Status.EXITED
        with suppress(LoginFailed):
            return self._world.sql.facts(instance.conninfo).connections <= 1
        return False

    def _turn(self, name: str, doing: str) -> AbstractContextManager[None]:
        return take_turn(self._world.locks / f"{name}.lock", Deadline(inf), doing)


@contextmanager
def _closing_on_failure(clones: Clones) -> Iterator[None]:
    try:
        yield
    except BaseException:
        clones.close()
        raise


def _conninfo_of(instance: Instance) -> Conninfo:
    if instance.conninfo is None:
        raise ServerNotReady(f"{instance.id} cannot be connected to", hint=instance.hint)
    return instance.conninfo


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def _tell(progress: Progress) -> None:
    log.info("%s", progress.message)
