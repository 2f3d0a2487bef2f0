"""One podman for all tests of this directory, and the program of a user who has it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import docker
import pytest

from dev_postgres_mcp.runtimes.docker import DockerEnvironment, DockerOptions, DockerRuntime
from tests.acceptance.program import make_program
from tests.helpers.stages import PORTS
from tests.podman.service import serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.program import Program
    from tests.helpers.stages import DockerStage
    from tests.podman.service import Podman

API_TIMEOUT = 60


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    if os.geteuid() != 0:
        pytest.skip("not as root: podman runs in namespaces of its own here")
    with serve() as podman:
        yield podman


@pytest.fixture
def runtime(podman: Podman, tmp_path: Path) -> Iterator[DockerRuntime]:
    """Our runtime, told by DOCKER_HOST where podman is."""
    environment = DockerEnvironment(home=tmp_path, host=podman.address)
    runtime = DockerRuntime(DockerOptions(environment=environment, ports=PORTS, state_directory=tmp_path))
    yield runtime
    runtime.close()


@pytest.fixture
def image(podman: Podman, runtime: DockerRuntime, docker_stage: DockerStage) -> str:
    """The image of the machine's Docker engine, given to podman as well."""
    ref = f"postgres:{docker_stage.version}"
    if runtime.find_image(ref) is None:
        api = docker.APIClient(base_url=podman.address, version="auto", timeout=API_TIMEOUT)
        try:
            api.load_image(docker_stage.api.get_image(ref))  # type: ignore[no-untyped-call]  # no stub
        finally:
            api.close()
    return ref


@pytest.fixture
def program(podman: Podman, tmp_path: Path) -> Iterator[Program]:
    """The program beside podman, which publishes ports in a network of its own."""
    plain = make_program(tmp_path, podman.address)
    program = replace(plain, command=(*podman.enter(files=False), *plain.command))
    yield program
    program.run("postgres", "drop", "--all", "--force", code=None)
