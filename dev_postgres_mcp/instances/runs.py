"""A command with an instance of its own, which is there for as long as the command runs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import DevPostgresError, ServerNotReady
from dev_postgres_mcp.model import Keep, Progress, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from dev_postgres_mcp.instances.manager import InstanceManager
    from dev_postgres_mcp.instances.specs import Defaults
    from dev_postgres_mcp.model import Conninfo, Instance, InstanceSpec

IDLE_TIMEOUT = 3_600.0
"""Seconds without a client after which the instance of a killed run ends.

The run itself cannot prolong it: what holds a connection open would be in the way of the command (`CREATE DATABASE
... TEMPLATE`).  So it has to be longer than a command leaves its database alone: a build before the first test,
a shell over lunch.
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a command ended, and whether its instance is still there."""

    instance: Instance
    code: int
    kept: bool


def prepare_defaults(defaults: Defaults) -> Defaults:
    """Return defaults under which the instance of a run that was killed ends soon."""
    return defaults if defaults.idle_timeout is not None else replace(defaults, idle_timeout=IDLE_TIMEOUT)


def run_with_instance(
    manager: InstanceManager,
    spec: InstanceSpec,
    command: Callable[[Conninfo], int],
    *,
    keep: Keep = Keep.NEVER,
    progress: Callable[[Progress], None] = lambda _: None,
    deadline: Deadline | None = None,
) -> Run:
    """Create an instance, have `command` run with it and return its exit code, and drop the instance.

    What was cancelled before the command began is dropped in any case.
    """
    deadline = deadline or Deadline(inf)
    instance = manager.create(spec, progress=progress, deadline=deadline)
    kept = False
    try:
        deadline.check("starting the command")
        code = command(conninfo_of(instance))
        kept = keep is Keep.ALWAYS or (keep is Keep.ON_FAILURE and code != 0)
    finally:
        if not kept:
            let_go(manager, instance)
    return Run(instance=instance, code=code, kept=kept)


def let_go(manager: InstanceManager, instance: Instance) -> None:
    """Drop an instance; what cannot be dropped now ends by its lease."""
    with suppress(DevPostgresError):
        manager.drop([instance.id])


def conninfo_of(instance: Instance) -> Conninfo:
    """Return how to connect to an instance; raises ServerNotReady for one that takes no connections."""
    if instance.conninfo is None or instance.status is Status.EXITED:
        raise ServerNotReady(
            f"{instance.id} is {instance.status} and cannot be connected to", hint=instance.hint
        )
    return instance.conninfo
