"""What stands between a user and a working create: looked at one by one, each finding with its remedy."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import DevPostgresError
from dev_postgres_mcp.instances.quota import Quota, sum_memory
from dev_postgres_mcp.parsing import render_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dev_postgres_mcp.runtimes.base import Container, Engine, ProviderFacts, Runtime


class Verdict(StrEnum):
    """How bad a finding is: a warning slows a create or will stop one soon, an error stops it now."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    check: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def diagnose(runtime: Runtime, *, image: str, ports: range, quota: Quota) -> tuple[Finding, ...]:
    """Return the findings in the order in which a create would meet them; never raises for the engine."""
    try:
        engine = runtime.engine()
        containers = runtime.list()
        present = runtime.find_image(image) is not None
    except DevPostgresError as exc:
        return (Finding(check="engine", verdict=Verdict.ERROR, detail=exc.message, remedy=exc.hint),)
    return (
        _engine(runtime, engine),
        Finding(check="context", verdict=Verdict.OK, detail=_context(engine)),
        Finding(check="address", verdict=Verdict.OK, detail=engine.address),
        Finding(check="api", verdict=Verdict.OK, detail=engine.api),
        *map(_provider, engine.providers),
        _image(image, engine, present=present),
        _ports(ports, containers),
        _instances(quota, containers),
        _memory(engine, quota, containers),
        *([_psql(runtime)] if runtime.capabilities.psql else []),
    )


def _engine(runtime: Runtime, engine: Engine) -> Finding:
    size = f", {engine.cpus} CPUs, {render_size(engine.memory)}" if engine.memory else ""
    disk = f", {engine.disk}" if engine.disk else ""
    return Finding(
        check="engine",
        verdict=Verdict.OK,
        detail=f"{runtime.name} {engine.version} on {engine.name}{size}{disk}",
    )


def _context(engine: Engine) -> str:
    tried = f"; before it: {'; '.join(engine.tried)}" if engine.tried else ""
    return engine.context + tried


def _provider(facts: ProviderFacts) -> Finding:
    tools = ", ".join(facts.client_tools) or "no client tools"
    count = len(facts.extensions)
    extensions = f"{count} extensions: {', '.join(facts.extensions)}" if count else "no extensions"
    return Finding(
        check="provider",
        verdict=Verdict.OK,
        detail=f"{facts.name} {facts.version} in {facts.directory}; {tools}; {extensions}",
    )


def _image(image: str, engine: Engine, *, present: bool) -> Finding:
    if present:
        return Finding(check="image", verdict=Verdict.OK, detail=f"{image} is present")
    if engine.providers:
        return Finding(
            check="image",
            verdict=Verdict.WARNING,
            detail=f"{image} is brought by no provider",
            remedy="ask for the version of one that is there, or install one that brings it",
        )
    return Finding(
        check="image",
        verdict=Verdict.WARNING,
        detail=f"{image} is absent: the first create pulls it",
        remedy=f"docker pull {image}",
    )


def _ports(ports: range, containers: Sequence[Container]) -> Finding:
    used = {container.endpoint.port for container in containers if container.running} & set(ports)
    free = len(ports) - len(used)
    detail = f"{free} of {len(ports)} in {ports[0]}-{ports[-1]} not used by instances"
    if free:
        return Finding(check="ports", verdict=Verdict.OK, detail=detail)
    return Finding(
        check="ports",
        verdict=Verdict.ERROR,
        detail=detail,
        remedy="drop an instance, or widen the range with the setting `ports`",
    )


def _instances(quota: Quota, containers: Sequence[Container]) -> Finding:
    count = len(containers)
    full = count >= quota.max_instances
    return Finding(
        check="instances",
        verdict=Verdict.ERROR if full else Verdict.OK,
        detail=f"{count} of {quota.max_instances}",
        remedy="drop one, or raise the setting `max_instances`" if full else "",
    )


def _memory(engine: Engine, quota: Quota, containers: Sequence[Container]) -> Finding:
    given = sum_memory(containers)
    detail = f"{render_size(given)} of {render_size(quota.max_memory)} given out as limits"
    if engine.memory:
        detail += f"; the engine has {render_size(engine.memory)}"
    if given >= quota.max_memory:
        remedy = "drop an instance, or raise the setting `max_total_memory`"
        return Finding(check="memory", verdict=Verdict.ERROR, detail=detail, remedy=remedy)
    if engine.memory and given > engine.memory:
        remedy = "fine while they idle; drop what is not needed before they all work at once"
        return Finding(check="memory", verdict=Verdict.WARNING, detail=detail, remedy=remedy)
    return Finding(check="memory", verdict=Verdict.OK, detail=detail)


def _psql(runtime: Runtime) -> Finding:
    program = runtime.capabilities.psql
    if shutil.which(program):
        return Finding(check="psql", verdict=Verdict.OK, detail="`postgres psql` works")
    return Finding(
        check="psql",
        verdict=Verdict.WARNING,
        detail=f"`postgres psql` needs the `{program}` command, which is not on PATH",
        remedy="install it, or connect with any client by `dev-postgres-mcp postgres get ID --format url`",
    )
