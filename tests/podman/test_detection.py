"""A real podman is found where podman is, and its API is spoken."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from docker.utils import version_gte

from dev_postgres_mcp.runtimes.docker import DockerEnvironment
from dev_postgres_mcp.runtimes.docker.contexts import find_addresses
from dev_postgres_mcp.runtimes.docker.discovery import MINIMUM_API, find_engine
from dev_postgres_mcp.runtimes.docker.engine import EngineConnection
from tests.podman.service import ROOTFUL_SOCKET

if TYPE_CHECKING:
    from pathlib import Path

    from dev_postgres_mcp.runtimes.docker import DockerRuntime
    from tests.acceptance.program import Program
    from tests.podman.service import Podman

pytestmark = pytest.mark.docker


def test_docker_host_leads_to_podman_and_its_api_is_negotiated(podman: Podman, tmp_path: Path) -> None:
    connection = EngineConnection(DockerEnvironment(home=tmp_path, host=podman.address))

    found = connection.discover()
    with connection.calling("asking podman") as api:
        components = [component["Name"] for component in api.version()["Components"]]
        assert version_gte(api.api_version, MINIMUM_API)
    connection.close()

    assert (found.address.url, found.address.source) == (podman.address, "DOCKER_HOST")
    assert found.tried == ()
    assert "Podman Engine" in components


def test_a_users_own_podman_is_found_in_the_runtime_directory(podman: Podman, tmp_path: Path) -> None:
    (tmp_path / "podman").mkdir()
    (tmp_path / "podman/podman.sock").symlink_to(podman.socket)
    addresses = find_addresses(DockerEnvironment(home=tmp_path, runtime_dir=tmp_path))
    users = tuple(address for address in addresses if str(address.socket).startswith(str(tmp_path)))

    found = find_engine(users)
    found.api.close()

    assert found.address.source == "rootless podman"
    assert found.address.url == f"unix://{tmp_path}/podman/podman.sock"
    assert all("no such socket" in text for text in found.tried)


def test_the_systems_podman_is_found_where_nothing_else_runs(podman: Podman, program: Program) -> None:
    """In podman's own namespace /run holds no other socket."""
    plain = program.without("DOCKER_HOST")
    there = replace(plain, command=(*podman.enter(files=True), *program.command[2:]))

    found = there.run("doctor", "--format", "json", code=None)

    assert f"unix://{ROOTFUL_SOCKET}" in found.stdout


def test_an_empty_podman_has_no_instances_and_no_such_image(runtime: DockerRuntime) -> None:
    engine = runtime.engine()

    assert engine.memory > 0
    assert engine.cpus > 0
    assert runtime.list() == ()
    assert runtime.find_image("postgres:9") is None
