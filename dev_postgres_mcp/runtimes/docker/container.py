"""The container contract: how an instance is written as a Docker container, and read back from one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from docker.types import LogConfig

from dev_postgres_mcp.errors import ImageUnsuitable
from dev_postgres_mcp.model import Endpoint, Evidence, Limits
from dev_postgres_mcp.runtimes.base import Bootstrap, Container, Kind, Role
from dev_postgres_mcp.runtimes.docker.files import HOME, INIT, PGDATA, PREPARE, SECRET, SWITCH
from dev_postgres_mcp.runtimes.docker.state import PASSWORD
from dev_postgres_mcp.runtimes.throwaway import throwaway_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dev_postgres_mcp.runtimes.base import Image, Launch
    from dev_postgres_mcp.runtimes.docker.discovery import Api

LABEL = "dev-postgres-mcp."
ID_LABEL = f"{LABEL}id"
USER_LABEL = f"{LABEL}user"
KIND_LABEL = f"{LABEL}kind"
CONTRACT = "3"
"""Changes when a spare of an older program could not be claimed by a newer one."""
POSTGRES_PORT = 5432
USER = "postgres"

_OTHER_PROCESSES = 100
"""Processes beyond the clients' backends: background workers, parallel workers, psql, scripts."""
_TMPFS = "size=1m,mode=1777"


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
    settings = {**throwaway_settings(launch.image.version), **launch.settings}
    now = datetime.now(UTC)
    ready_by = now + timedelta(seconds=launch.patience)
    kind, entrypoint = ("prepared", ()) if launch.image.prepared else ("fresh", launch.image.entrypoint)
    ends = [str(ceil(end.timestamp())) if end else "0" for end in (launch.hard_end, ready_by)]
    return {
        **_shared_arguments(launch.image, with_init=bool(launch.init)),
        "name": launch.role.name_for(launch.record.id),
        "stdin_open": launch.image.whole,
        "entrypoint": ["/bin/sh", SWITCH, launch.record.id, *ends, kind],
        "command": [*entrypoint, *_server_command(settings)],
        "environment": _environment(launch.bootstrap),
        "labels": _labels(launch, place, now, ready_by),
        "ports": [POSTGRES_PORT],
        # By id here too: Engine 20.10 turns an id in the network mode back into a name, which need not be unique.
        "networking_config": {"EndpointsConfig": {place.network_id: {"NetworkID": place.network_id}}},
        "host_config": api.create_host_config(
            **_shared_host_config(launch.image),
            auto_remove=True,
            port_bindings={POSTGRES_PORT: (place.bind_host, place.port)},
            network_mode=place.network_id,
            mem_limit=launch.limits.memory,
            memswap_limit=launch.limits.memory,
            nano_cpus=round(launch.limits.cpus * 1e9),
            pids_limit=_pids_limit(settings),
            shm_size=launch.limits.memory // 2,
        ),
    }


def prepare_arguments(
    api: Api, base: Image, key: str, ready_by: datetime, *, with_init: bool
) -> dict[str, Any]:
    """Return the arguments for the container that makes a prepared image's cluster, without a network."""
    labels = {
        "id": key,
        "port": "0",
        "created-at": datetime.now(UTC).isoformat(),
        "ready-by": ready_by.isoformat(),
        "version": base.version,
        "image": base.ref,
        "base": base.id,
        "memory": "0",
        "cpus": "0",
    }
    return {
        **_shared_arguments(base, with_init=with_init),
        "name": Role.PREPARING.name_for(key),
        "entrypoint": ["/bin/sh", PREPARE],
        "command": [*base.entrypoint, *_server_command(throwaway_settings(base.version))],
        "environment": _environment(Bootstrap(database=USER, username=USER)),
        "labels": {LABEL + key: value for key, value in labels.items()},
        "host_config": api.create_host_config(**_shared_host_config(base), network_mode="none"),
    }


def _server_command(settings: Mapping[str, str]) -> list[str]:
    return ["postgres", *(part for pair in settings.items() for part in ("-c", "=".join(pair)))]


def _shared_arguments(image: Image, *, with_init: bool) -> dict[str, Any]:
    _check_volumes(image, with_init=with_init)
    return {"image": image.id, "user": USER, "use_config_proxy": False}


def _shared_host_config(image: Image) -> dict[str, Any]:
    return {
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "tmpfs": dict.fromkeys((*image.volumes, SECRET), _TMPFS),
        "log_config": LogConfig(type="json-file", config={"max-size": "10m", "max-file": "1"}),
    }


def _environment(bootstrap: Bootstrap) -> dict[str, str]:
    return {
        "PGDATA": PGDATA,
        "POSTGRES_USER": bootstrap.username,
        "POSTGRES_DB": bootstrap.database,
        "POSTGRES_PASSWORD_FILE": f"{SECRET}/{PASSWORD}",
        # What an image may have baked in and the entrypoint would prefer or refuse.
        **dict.fromkeys(("POSTGRES_PASSWORD", "POSTGRES_USER_FILE", "POSTGRES_DB_FILE"), ""),
        "POSTGRES_HOST_AUTH_METHOD": "scram-sha-256",
    }


def read_summary(summary: Mapping[str, Any], host: str) -> Container | None:
    """Return a container from the engine's list, None when it is not ours."""
    labels: Mapping[str, str] = summary.get("Labels") or {}
    names = [name.lstrip("/") for name in summary.get("Names") or ()]
    return _read(
        labels,
        names,
        host,
        container_id=summary["Id"],
        state=str(summary["State"]),
        image_id=str(summary.get("ImageID", "")),
    )


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
        image_id=str(details.get("Image", "")),
        evidence=Evidence(
            exit_code=state["ExitCode"],
            oom_killed=state["OOMKilled"],
            finished_at=_read_time(state["FinishedAt"]),
        )
        if ran
        else None,
    )


def _read(labels: Mapping[str, str], names: list[str], host: str, **seen: Any) -> Container | None:
    """Return a container with our labels *and* a name that follows from them."""
    instance_id = labels.get(ID_LABEL, "")
    role = next((role for role in Role if role.name_for(instance_id) in names), None)
    if not instance_id or role is None:
        return None
    try:
        return Container(
            id=instance_id,
            role=role,
            endpoint=Endpoint(host=host, port=int(labels[f"{LABEL}port"])),
            created_at=read_moment(labels[f"{LABEL}created-at"]),
            ready_by=read_moment(labels[f"{LABEL}ready-by"]),
            hard_end=read_moment(end) if (end := labels.get(f"{LABEL}hard-end")) else None,
            version=labels[f"{LABEL}version"],
            image=labels[f"{LABEL}image"],
            base_id=labels.get(f"{LABEL}base", ""),
            limits=Limits(memory=int(labels[f"{LABEL}memory"]), cpus=float(labels[f"{LABEL}cpus"])),
            settings=read_settings(labels),
            maker=labels.get(f"{LABEL}maker", ""),
            image_kind=Kind(kind) if (kind := labels.get(KIND_LABEL)) else None,
            contract=labels.get(f"{LABEL}contract", ""),
            user=labels.get(USER_LABEL, ""),
            restored=bool(labels.get(f"{LABEL}restored")),
            **seen,
        )
    except (KeyError, ValueError, AttributeError, OverflowError, RecursionError):
        return None


def read_settings(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the PostgreSQL settings that were asked for."""
    settings = json.loads(labels.get(f"{LABEL}settings") or "{}")
    return {str(name): str(value) for name, value in settings.items()}


def read_moment(text: str) -> datetime:
    """Return the moment in a label; a text without a zone is taken for local time."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _check_volumes(image: Image, *, with_init: bool) -> None:
    needed = [PurePosixPath(HOME), *([PurePosixPath(INIT)] if with_init else [])]
    for volume in image.volumes:
        if any(path.is_relative_to(PurePosixPath(volume)) for path in needed):
            raise ImageUnsuitable(
                f"the image {image.ref} declares a volume at {volume}, which hides our files"
            )


def _labels(launch: Launch, place: Place, now: datetime, ready_by: datetime) -> dict[str, str]:
    """Return what never changes.  A container from a frozen one gets that one's labels too, and these win."""
    ours = {
        "id": launch.record.id,
        "contract": CONTRACT,
        "port": str(place.port),
        "created-at": now.isoformat(),
        "ready-by": ready_by.isoformat(),
        "hard-end": launch.hard_end.isoformat() if launch.hard_end else "",
        "version": launch.image.version,
        "image": launch.image.ref,
        "base": launch.image.base_id,
        "memory": str(launch.limits.memory),
        "cpus": str(launch.limits.cpus),
        "settings": json.dumps(dict(launch.settings)),
        "maker": launch.maker,
        "restored": "yes" if launch.role is Role.RESTORING else "",
    }
    return {LABEL + key: value for key, value in ours.items()}


def _pids_limit(settings: Mapping[str, str]) -> int:
    connections = settings["max_connections"]
    return (int(connections) if connections.isdigit() else 0) + _OTHER_PROCESSES


def _read_time(text: str) -> datetime | None:
    """Return the engine's RFC 3339 time with nanoseconds; year 1 stands for never."""
    moment = datetime.fromisoformat(text)
    return moment if moment.year > 1 else None
