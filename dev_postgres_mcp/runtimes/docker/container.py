"""The container contract: how an instance is written as a Docker container, and read back from one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from docker.types import LogConfig

from dev_postgres_mcp.errors import ImageUnsuitable
from dev_postgres_mcp.model import Endpoint, Evidence, Limits, Owner
from dev_postgres_mcp.runtimes.base import NAME_PREFIX, Container
from dev_postgres_mcp.runtimes.docker.files import HOME, INIT, PASSWORD, PGDATA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dev_postgres_mcp.runtimes.base import Launch
    from dev_postgres_mcp.runtimes.docker.discovery import Api

LABEL = "dev-postgres-mcp."
ID_LABEL = f"{LABEL}id"
POSTGRES_PORT = 5432
USER = "postgres"

THROWAWAY_SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_locks_per_transaction": "256",
}
"""Speed over safety: what is in a throwaway server is lost with it anyway (PostgreSQL manual, 14.5)."""
_OTHER_PROCESSES = 100
"""Processes beyond the clients' backends: background workers, parallel workers, psql, scripts."""
_TMPFS = "size=1m,mode=1777"
_OWNER_FIELDS = ("session", "user", "cwd", "process")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a container is published (`bind_host` on the engine, `host` as we reach it) and attached."""

    bind_host: str
    host: str
    port: int
    network_id: str


def create_arguments(api: Api, launch: Launch, place: Place) -> dict[str, Any]:
    """Return the arguments of the SDK's `create_container` (DESIGN: the container contract).

    Raises ImageUnsuitable for an image whose volumes would hide what is put in.
    """
    _check_volumes(launch)
    settings = {**THROWAWAY_SETTINGS, **launch.settings}
    return {
        "name": NAME_PREFIX + launch.record.id,
        "image": launch.image.id,
        "command": ["postgres", *(part for pair in settings.items() for part in ("-c", "=".join(pair)))],
        "user": USER,
        "environment": {
            "PGDATA": PGDATA,
            "POSTGRES_USER": launch.bootstrap.username,
            "POSTGRES_DB": launch.bootstrap.database,
            "POSTGRES_PASSWORD_FILE": PASSWORD,
            # What an image may have baked in and the entrypoint would prefer or refuse.
            **dict.fromkeys(("POSTGRES_PASSWORD", "POSTGRES_USER_FILE", "POSTGRES_DB_FILE"), ""),
            "POSTGRES_HOST_AUTH_METHOD": "scram-sha-256",
        },
        "use_config_proxy": False,
        "labels": _labels(launch, place),
        "ports": [POSTGRES_PORT],
        # By id here too: Engine 20.10 turns an id in the network mode back into a name, which need not be unique.
        "networking_config": {"EndpointsConfig": {place.network_id: {"NetworkID": place.network_id}}},
        "host_config": api.create_host_config(
            port_bindings={POSTGRES_PORT: (place.bind_host, place.port)},
            network_mode=place.network_id,
            mem_limit=launch.limits.memory,
            memswap_limit=launch.limits.memory,
            nano_cpus=round(launch.limits.cpus * 1e9),
            pids_limit=_pids_limit(settings),
            shm_size=launch.limits.memory // 2,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            tmpfs=dict.fromkeys(launch.image.volumes, _TMPFS),
            log_config=LogConfig(type="json-file", config={"max-size": "10m", "max-file": "1"}),
        ),
    }


def read_summary(summary: Mapping[str, Any], host: str) -> Container | None:
    """Return a container from the engine's list, None when it is not ours."""
    labels: Mapping[str, str] = summary.get("Labels") or {}
    names = [name.lstrip("/") for name in summary.get("Names") or ()]
    return _read(labels, names, host, container_id=summary["Id"], state=str(summary["State"]))


def read_details(details: Mapping[str, Any], host: str) -> Container | None:
    """Return a container from the engine's inspection, with evidence; None when it is not ours."""
    state: Mapping[str, Any] = details["State"]
    ran = str(state["Status"]) not in {"created", "running", "paused"}
    return _read(
        details["Config"].get("Labels") or {},
        [details["Name"].lstrip("/")],
        host,
        container_id=details["Id"],
        state=str(state["Status"]),
        evidence=Evidence(
            exit_code=state["ExitCode"],
            oom_killed=state["OOMKilled"],
            finished_at=_read_time(state["FinishedAt"]),
        )
        if ran
        else None,
    )


def _read(labels: Mapping[str, str], names: list[str], host: str, **seen: Any) -> Container | None:
    instance_id = labels.get(ID_LABEL, "")
    if not instance_id or NAME_PREFIX + instance_id not in names:
        return None
    try:
        return Container(
            id=instance_id,
            endpoint=Endpoint(host=host, port=int(labels[f"{LABEL}port"])),
            created_at=datetime.fromisoformat(labels[f"{LABEL}created-at"]).astimezone(UTC),
            ready_by=datetime.fromisoformat(labels[f"{LABEL}ready-by"]).astimezone(UTC),
            version=labels[f"{LABEL}version"],
            image=labels[f"{LABEL}image"],
            limits=Limits(memory=int(labels[f"{LABEL}memory"]), cpus=float(labels[f"{LABEL}cpus"])),
            owner=Owner(**{key: labels.get(f"{LABEL}owner.{key}", "") for key in _OWNER_FIELDS}),
            labels={
                key.removeprefix(f"{LABEL}label."): value
                for key, value in labels.items()
                if key.startswith(f"{LABEL}label.")
            },
            **seen,
        )
    except (KeyError, ValueError):
        return None


def _check_volumes(launch: Launch) -> None:
    needed = [PurePosixPath(HOME), *([PurePosixPath(INIT)] if launch.init else [])]
    for volume in launch.image.volumes:
        if any(path.is_relative_to(PurePosixPath(volume)) for path in needed):
            raise ImageUnsuitable(
                f"the image {launch.image.ref} declares a volume at {volume}, which hides our files"
            )


def _labels(launch: Launch, place: Place) -> dict[str, str]:
    now = datetime.now(UTC)
    ours = {
        "id": launch.record.id,
        "port": str(place.port),
        "created-at": now.isoformat(),
        "ready-by": (now + timedelta(seconds=launch.patience)).isoformat(),
        "version": launch.image.version,
        "image": launch.image.ref,
        "memory": str(launch.limits.memory),
        "cpus": str(launch.limits.cpus),
    }
    ours |= {f"owner.{key}": getattr(launch.owner, key) for key in _OWNER_FIELDS}
    ours |= {f"label.{key}": value for key, value in launch.labels.items()}
    return {LABEL + key: value for key, value in ours.items()}


def _pids_limit(settings: Mapping[str, str]) -> int:
    connections = settings["max_connections"]
    return (int(connections) if connections.isdigit() else 0) + _OTHER_PROCESSES


def _read_time(text: str) -> datetime | None:
    """Return the engine's RFC 3339 time with nanoseconds; year 1 stands for never."""
    moment = datetime.fromisoformat(text)
    return moment if moment.year > 1 else None
