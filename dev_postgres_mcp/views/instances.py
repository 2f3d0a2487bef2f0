"""Instances, their health, and what looks at the program itself, as every face shows them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dev_postgres_mcp.instances.diagnosis import Finding, Verdict
from dev_postgres_mcp.model import Drop, Evidence, Health, Instance, InstanceList, Owner
from dev_postgres_mcp.views.base import View

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

StatusText = Literal["pending", "starting", "ready", "unhealthy", "exited", "lost"]


class OwnerView(View):
    """Who asked for an instance."""

    session: str = Field(description="The MCP session or shell that asked for it.")
    user: str = Field(description="Name of the operating system's user.")
    cwd: str = Field(description="Working directory of the process that asked for it.")
    process: str = Field(description="Host, process id and program that asked for it.")


class ListedInstanceView(View):
    """An instance as `list` shows it: without a secret."""

    id: str = Field(description="Twelve characters; any unique prefix works wherever an id is asked for.")
    name: str = Field(description="Display name.")
    container_id: str = Field(description="Full id of the container.")
    runtime: str = Field(description="Where it lives: docker, or embedded, as a process of this machine.")
    host: str = Field(description="Host to connect to.")
    port: int = Field(description="TCP port to connect to.")
    database: str | None = Field(description="Database; null while the record cannot be read.")
    username: str | None = Field(description="Superuser; null while the record cannot be read.")
    version: str = Field(description="PostgreSQL major version; empty when the image does not say.")
    dsn: str | None = Field(description="libpq URI; in a list, *** stands for the password.")
    created_at: datetime = Field(description="When its creation began.")
    expires_at: datetime | None = Field(description="When it ends by itself; null: it stays until dropped.")
    idle_timeout: float | None = Field(
        description="Seconds without a client after which it ends; null: none."
    )
    status: StatusText = Field(description="ready means that a login worked.")
    owner: OwnerView = Field(description="Who asked for it.")
    labels: dict[str, str] = Field(description="Labels given at creation.")
    hint: str | None = Field(description="What to do next, when there is something to do.")


class InstanceView(ListedInstanceView):
    """An instance with its password: what `create` and `get` return."""

    password: str | None = Field(description="Password of the user; null while the record cannot be read.")


class InstanceListView(View):
    """All instances of the engine."""

    instances: list[ListedInstanceView] = Field(description="Oldest first.")
    count: int = Field(description="How many there are.")
    max_instances: int = Field(description="How many there may be.")
    memory_bytes: int = Field(description="Sum of their memory limits.")
    max_memory_bytes: int = Field(description="Ceiling of that sum.")


class DropView(View):
    """What became of one reference."""

    ref: str = Field(description="The reference that was given.")
    id: str | None = Field(description="Id of the instance; null when nothing answered to the reference.")
    outcome: Literal["dropped", "already_gone"] = Field(
        description="Both mean that it is not there any more."
    )


class DropListView(View):
    """What a drop did."""

    results: list[DropView] = Field(description="One for each reference, in the order given.")


class HealthView(View):
    """How an instance fares."""

    id: str = Field(description="The instance.")
    healthy: bool = Field(description="Whether a login and a query over TCP worked just now.")
    status: StatusText = Field(description="Status of the instance.")
    latency_seconds: float | None = Field(description="Time of connect, login and one query.")
    server_version: str | None = Field(description="Full version of the server.")
    uptime_seconds: float | None = Field(description="Time since the server's start.")
    connections: int | None = Field(description="Client connections in use, this check's own included.")
    max_connections: int | None = Field(description="Client connections that the server allows.")
    database_bytes: int | None = Field(description="Size of the instance's database.")
    memory_bytes: int | None = Field(description="Memory in use.")
    memory_limit_bytes: int | None = Field(description="Memory that it may use.")
    exit_code: int | None = Field(description="Exit code of a dead server.")
    oom_killed: bool = Field(description="Whether it was out of memory.")
    log_tail: str | None = Field(description="Last log lines of a dead server.")
    hint: str | None = Field(description="What to do next, when there is something to do.")


class FindingView(View):
    """One thing that `doctor` looked at."""

    check: str = Field(description="What was looked at.")
    verdict: Literal["ok", "warning", "error"] = Field(description="An error stops a create.")
    detail: str = Field(description="What was found.")
    remedy: str | None = Field(description="What to do about it.")


class DoctorView(View):
    """What `doctor` found."""

    healthy: bool = Field(description="Whether no finding is an error.")
    findings: list[FindingView] = Field(description="In the order in which a create would meet them.")


class SettingView(View):
    """One effective setting."""

    name: str = Field(description="Its key.")
    value: str = Field(description="Its value as text; *** for a secret.")
    origin: str = Field(description="Where the value came from.")


class SettingListView(View):
    """The effective configuration."""

    settings: list[SettingView] = Field(description="Every setting.")


def view_instance(instance: Instance) -> InstanceView:
    """Return the view with the password."""
    conninfo = instance.conninfo
    return InstanceView(
        **_shared(instance),
        dsn=conninfo.dsn() if conninfo else None,
        password=conninfo.password.reveal() if conninfo else None,
    )


def view_list(listing: InstanceList) -> InstanceListView:
    """Return the view of a list, without a secret."""
    return InstanceListView(
        instances=[
            ListedInstanceView(
                **_shared(instance), dsn=instance.conninfo.redacted_dsn() if instance.conninfo else None
            )
            for instance in listing.instances
        ],
        count=len(listing.instances),
        max_instances=listing.max_instances,
        memory_bytes=listing.memory,
        max_memory_bytes=listing.max_memory,
    )


def view_drops(drops: tuple[Drop, ...]) -> DropListView:
    """Return the view of a drop."""
    return DropListView(
        results=[DropView(ref=drop.ref, id=drop.id or None, outcome=drop.outcome.value) for drop in drops]
    )


def view_health(health: Health) -> HealthView:
    """Return the view of a health check."""
    facts, usage, evidence = health.facts, health.usage, health.instance.evidence or Evidence()
    return HealthView(
        id=health.instance.id,
        healthy=health.healthy,
        status=health.instance.status.value,
        latency_seconds=facts.latency if facts else None,
        server_version=facts.version if facts else None,
        uptime_seconds=facts.uptime if facts else None,
        connections=facts.connections if facts else None,
        max_connections=facts.max_connections if facts else None,
        database_bytes=facts.database_size if facts else None,
        memory_bytes=usage.memory if usage else None,
        memory_limit_bytes=usage.memory_limit if usage else None,
        exit_code=evidence.exit_code,
        oom_killed=evidence.oom_killed,
        log_tail=evidence.log_tail or None,
        hint=health.hint or None,
    )


def view_findings(findings: Sequence[Finding]) -> DoctorView:
    """Return the view of a diagnosis."""
    return DoctorView(
        healthy=all(finding.verdict is not Verdict.ERROR for finding in findings),
        findings=[
            FindingView(
                check=finding.check,
                verdict=finding.verdict.value,
                detail=finding.detail,
                remedy=finding.remedy or None,
            )
            for finding in findings
        ],
    )


def view_settings(values: Mapping[str, str], origins: Mapping[str, str]) -> SettingListView:
    """Return the view of the configuration."""
    return SettingListView(
        settings=[SettingView(name=name, value=value, origin=origins[name]) for name, value in values.items()]
    )


def _shared(instance: Instance) -> dict[str, object]:
    conninfo = instance.conninfo
    return {
        "id": instance.id,
        "name": instance.name,
        "container_id": instance.container_id,
        "runtime": instance.runtime,
        "host": instance.endpoint.host,
        "port": instance.endpoint.port,
        "database": conninfo.database if conninfo else None,
        "username": conninfo.username if conninfo else None,
        "version": instance.version,
        "created_at": instance.created_at,
        "expires_at": instance.lease.expires_at,
        "idle_timeout": instance.lease.idle_timeout,
        "status": instance.status.value,
        "owner": _view_owner(instance.owner),
        "labels": dict(instance.labels),
        "hint": "\n".join(part for part in (instance.hint, _tell(instance.evidence)) if part) or None,
    }


def _tell(evidence: Evidence | None) -> str:
    return f"what it left behind: {evidence.summary()}" if evidence is not None else ""


def _view_owner(owner: Owner) -> OwnerView:
    return OwnerView(session=owner.session, user=owner.user, cwd=owner.cwd, process=owner.process)
