"""A real registry on loopback, images that no engine has yet, and a scripted proxy between engine and registry.

dockerd takes 127.0.0.0/8 for insecure registries, so that plain HTTP needs no configuration.
"""

from __future__ import annotations

import io
import secrets
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import docker
import docker.errors
import pytest

from dev_postgres_mcp.runtimes.docker.container import LABEL
from tests.registry.proxy import LOOPBACK, Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.helpers.stages import DockerStage

LAYERS = 2
LAYER_BYTES = 3 * 1024**2
"""Random, so that no layer is there already and none gets smaller on the way."""
_UNTIL_WE_DIE = ("setpriv", "--pdeathsig", "TERM")
_REPOSITORY = "shop/postgres"
_CONFIGURATION = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "{host}:{port}"}}
"""


@dataclass
class Registry:
    """A running registry, and the tag of an image in it that no test has delivered."""

    port: int
    undelivered: str = ""


@dataclass
class Shelf:
    """What a test puts into the registry and pulls from it."""

    port: int
    _pulled: list[str] = field(default_factory=list)

    def publish(self, api: docker.APIClient, base: str, *, tag: str = "") -> str:
        """Push `base` with layers of its own on top, leave nothing of them on the engine, return the tag."""
        tag = tag or f"of-{secrets.token_hex(6)}"
        name = f"{LOOPBACK}:{self.port}/{_REPOSITORY}"
        parent = base
        for number in range(LAYERS):
            container = api.create_container(parent)["Id"]
            try:
                api.put_archive(container, "/", _random_file(f"layer-{number}"))
                api.commit(container, repository=name, tag=tag)
            finally:
                api.remove_container(container, v=True, force=True)
            parent = f"{name}:{tag}"
        try:
            failures = [event for event in api.push(name, tag, stream=True, decode=True) if "error" in event]
        finally:
            api.remove_image(parent)
        assert failures == []
        return tag

    def reference(self, proxy: Proxy, tag: str) -> str:
        """Return the name under which the engine pulls `tag` through `proxy`."""
        reference = f"{LOOPBACK}:{proxy.port}/{_REPOSITORY}:{tag}"
        self._pulled.append(reference)
        return reference

    def clear(self, api: docker.APIClient) -> None:
        """Remove from the engine what was pulled, and what was prepared from it."""
        while self._pulled:
            reference = self._pulled.pop()
            for prepared in api.images(filters={"label": f"{LABEL}image={reference}"}):
                api.remove_image(prepared["Id"])
            with suppress(docker.errors.ImageNotFound):
                api.remove_image(reference)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """An empty registry."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.fail("this test needs Debian's package docker-registry: `tools/test-services` installs it")
    folder = tmp_path_factory.mktemp("registry")
    port = _free_port()
    configuration = folder / "config.yml"
    configuration.write_text(_CONFIGURATION.format(folder=folder / "data", host=LOOPBACK, port=port))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*_UNTIL_WE_DIE, program, "serve", str(configuration)], stdout=log, stderr=log
        )
    try:
        _wait_until_up(port, process, folder / "log")
        yield Registry(port)
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def proxy(registry: Registry) -> Iterator[Proxy]:
    """A proxy before the registry that only forwards until a test says otherwise."""
    with Proxy(registry.port).serving() as proxy:
        yield proxy


@pytest.fixture
def shelf(registry: Registry, docker_stage: DockerStage) -> Iterator[Shelf]:
    """What is in the registry; the stage's instances go first, so that their images can go."""
    shelf = Shelf(registry.port)
    yield shelf
    docker_stage.close()
    shelf.clear(docker_stage.api)


@pytest.fixture
def absent(shelf: Shelf, proxy: Proxy, docker_stage: DockerStage) -> str:
    """The reference of an image that the registry has and the engine lacks."""
    return shelf.reference(proxy, shelf.publish(docker_stage.api, f"postgres:{docker_stage.version}"))


@pytest.fixture
def undelivered(registry: Registry, shelf: Shelf, proxy: Proxy, docker_stage: DockerStage) -> str:
    """The same, of one image for all tests in which no layer gets through."""
    if not registry.undelivered:
        registry.undelivered = shelf.publish(docker_stage.api, f"postgres:{docker_stage.version}")
    return shelf.reference(proxy, registry.undelivered)


def _random_file(name: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = LAYER_BYTES
        archive.addfile(entry, io.BytesIO(secrets.token_bytes(LAYER_BYTES)))
    return stream.getvalue()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_up(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 15
    while time.monotonic() < end and process.poll() is None:
        with (
            suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"http://{LOOPBACK}:{port}/v2/"),
        ):
            return
        time.sleep(0.02)
    pytest.fail(f"docker-registry does not start: {log.read_text()}")
