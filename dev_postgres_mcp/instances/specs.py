"""From what a caller wrote to a whole spec: checked, with the defaults filled in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import InvalidInput
from dev_postgres_mcp.instances.init_files import find_init_files
from dev_postgres_mcp.model import BranchSpec, InstanceSpec, Limits, Owner, Secret
from dev_postgres_mcp.parsing import (
    check_display_name,
    check_image,
    check_name,
    check_password,
    check_seed,
    check_settings,
    check_username,
    new_password,
    parse_duration,
    parse_memory,
    parse_version,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What stands in for what a caller leaves out.

    `repository` is the image before `:<version>`; without a `password` each instance gets a random one.
    """

    version: str
    repository: str
    database: str
    username: str
    limits: Limits
    owner: Owner
    ttl: float | None = None
    idle_timeout: float | None = None
    password: Secret | None = None


def build_spec(  # noqa: PLR0913 - one parameter for each thing that can be asked for
    defaults: Defaults,
    *,
    version: str | None = None,
    image: str | None = None,
    name: str | None = None,
    database: str | None = None,
    username: str | None = None,
    password: Secret | None = None,
    memory: str | None = None,
    cpus: float | None = None,
    ttl: str | None = None,
    idle_timeout: str | None = None,
    seed: str | None = None,
    labels: Mapping[str, str] | None = None,
    extensions: Sequence[str] = (),
    settings: Mapping[str, str] | None = None,
    init: Path | None = None,
) -> InstanceSpec:
    """Return the spec for a create; raises InvalidInput for what cannot work, before anything is begun."""
    if image is not None and version is not None:
        raise InvalidInput(
            "both a version and an image are given", hint="the image decides its version: drop one"
        )
    version = parse_version(version or defaults.version)
    if init is not None and seed is not None:
        raise InvalidInput(
            "both a seed and init scripts are given", hint="bake the scripts into the seed, or drop one"
        )
    return InstanceSpec(
        version="" if image is not None else version,
        image=check_image(image) if image is not None else f"{defaults.repository}:{version}",
        database=_check_database(defaults.database if database is None else database),
        username=check_username(defaults.username if username is None else username),
        password=_choose_password(password or defaults.password),
        limits=Limits(
            memory=defaults.limits.memory if memory is None else parse_memory(memory),
            cpus=defaults.limits.cpus if cpus is None else _check_cpus(cpus),
        ),
        ttl=defaults.ttl if ttl is None else parse_duration(ttl, what="ttl"),
        idle_timeout=_choose_idle(defaults, idle_timeout),
        seed="" if seed is None else check_seed(seed),
        name="" if name is None else check_display_name(name),
        owner=defaults.owner,
        labels=_check_labels(labels or {}),
        extensions=tuple(check_name(extension, what="extension") for extension in extensions),
        settings=check_settings(dict(settings or {})),
        init=find_init_files(_expand(init)),
    )


def build_branch_spec(  # noqa: PLR0913 - as above
    defaults: Defaults,
    *,
    name: str | None = None,
    password: Secret | None = None,
    memory: str | None = None,
    cpus: float | None = None,
    ttl: str | None = None,
    idle_timeout: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> BranchSpec:
    """Return the spec for a branch; raises InvalidInput for what cannot work."""
    return BranchSpec(
        password=_choose_password(password or defaults.password),
        ttl=defaults.ttl if ttl is None else parse_duration(ttl, what="ttl"),
        idle_timeout=_choose_idle(defaults, idle_timeout),
        memory=None if memory is None else parse_memory(memory),
        cpus=None if cpus is None else _check_cpus(cpus),
        name="" if name is None else check_display_name(name),
        owner=defaults.owner,
        labels=_check_labels(labels or {}),
    )


def _choose_idle(defaults: Defaults, text: str | None) -> float | None:
    return defaults.idle_timeout if text is None else parse_duration(text, what="idle_timeout")


def _choose_password(wanted: Secret | None) -> Secret:
    return Secret(new_password() if wanted is None else check_password(wanted.reveal()))


def _check_database(name: str) -> str:
    if name == "template0":
        raise InvalidInput("template0 accepts no connections", hint="choose another database name")
    return check_name(name, what="database")


def _expand(path: Path | None) -> Path | None:
    return Path(os.path.expanduser(path)).absolute() if path is not None else None  # noqa: PTH111 - keeps ~nobody


def _check_cpus(cpus: float) -> float:
    if not 0.01 <= cpus <= 1024:  # noqa: PLR2004 - Docker's own lower bound; the engine judges the upper
        raise InvalidInput(f"cpus {cpus:g} is out of range", hint="give a number of cores such as 0.5 or 2")
    return cpus


def _check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    for key, value in labels.items():
        if not key.strip() or "\0" in key + value:
            raise InvalidInput(f"label {key!r} cannot be stored", hint="write each label as name=value")
    return dict(labels)
