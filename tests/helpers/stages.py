"""Where a test plays: an app on the in-memory world, or on a real engine, with the same handles on both.

A stage makes what tests need and puts away what they leave.  Everything it starts carries the stage's own
session as its maker, so that whatever else runs on the engine is never touched.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import docker
import pytest

from dev_postgres_mcp.app import App, assemble_app, docker_options
from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import DevPostgresError
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.instances.launches import plan_launch
from dev_postgres_mcp.model import Limits, Owner, Secret
from dev_postgres_mcp.parsing import new_id
from dev_postgres_mcp.runtimes.base import Bootstrap, Image, Launch, Record
from dev_postgres_mcp.runtimes.docker import DockerRuntime
from dev_postgres_mcp.runtimes.docker.container import LABEL
from dev_postgres_mcp.runtimes.docker.files import PGDATA
from dev_postgres_mcp.runtimes.docker.state import STATE_DIRECTORY
from dev_postgres_mcp.runtimes.memory import MemoryRuntime, MemorySql, MemoryWorld
from dev_postgres_mcp.settings import Settings, read_surroundings
from dev_postgres_mcp.sql.client import PsycopgSql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dev_postgres_mcp.model import InstanceSpec
    from dev_postgres_mcp.runtimes.base import Container, Runtime
    from dev_postgres_mcp.runtimes.docker import DockerOptions
    from dev_postgres_mcp.sql.base import Sql

MEGABYTE = 1024**2
PORTS = range(15432, 25433)
SYSTEM = {"darwin": "macOS", "win32": "Windows"}.get(sys.platform, "Linux")
_TEST_REPOSITORY = "dev-postgres-mcp-tests"
ABSENT_IMAGE = "dev-postgres-mcp.invalid/none:17"
"""No engine has it and, by RFC 2606, no registry answers at that name."""
HERE = "here"
"""The machine on which most processes of a test run."""
ROOMY = {"max_instances": 10_000, "max_total_memory": 1024**5}
"""Ceilings that other people's instances on a shared engine do not fill."""


class Stage(Protocol):
    """An engine, real or not, as the contract tests see it."""

    name: str
    version: str
    session: str
    memory: int

    @property
    def sql(self) -> Sql: ...

    def runtime(self, ports: range = PORTS, *, client: str = HERE) -> Runtime:
        """Return a runtime that shares nothing with others of its client but the disk, as another process would.

        With another `client` it shares nothing with the others but the engine.
        """
        ...

    def add_base(self) -> str:
        """Return the name of a local base image that only this stage uses."""
        ...

    def kill(self, container_id: str) -> None:
        """End the server inside a container by force; returns when that is noted beside it."""

    def pause(self, container_id: str) -> None:
        """Freeze the server."""

    def close(self) -> None:
        """Put away what is left of this stage."""


def build_app(stage: Stage, *, ports: range = PORTS, client: str = HERE, **settings: Any) -> App:
    """Return an app on a runtime of its own; `settings` override the defaults."""
    return assemble_app(
        Settings(**{"version": stage.version, "memory": stage.memory, **ROOMY, **settings}),
        runtime=stage.runtime(ports, client=client),
        sql=stage.sql,
        owner=owner_of(stage),
    )


def owner_of(stage: Stage) -> Owner:
    """Return the owner whose instances are this stage's."""
    return Owner(session=stage.session, user="tester", cwd="/somewhere", process="host:1 pytest")


def owned(stage: Stage, runtime: Runtime) -> tuple[Container, ...]:
    """Return what `runtime` lists of this stage's own."""
    return tuple(container for container in runtime.list() if container.maker == stage.session)


def build_launch(stage: Stage, runtime: Runtime, **asked: Any) -> Launch:
    """Return a launch of the stage's image; `asked` goes to `build_spec`."""
    spec: InstanceSpec = build_spec(build_app(stage).defaults, **asked)
    image = runtime.find_image(spec.image)
    assert image is not None, f"{spec.image} is not there: `make engine` makes it"
    return replace(plan_launch(spec, image, patience=60.0), maker=stage.session)


def some_launch(**changes: Any) -> Launch:
    """Return a launch of nothing in particular, for what is pure."""
    record = some_record()
    given: dict[str, Any] = {
        "record": record,
        "bootstrap": Bootstrap(database=record.database, username=record.username),
        "image": Image(
            ref="postgres:17",
            id="sha256:abc",
            base_id="sha256:base",
            version="17",
            volumes=("/var/lib/postgresql/data",),
        ),
        "limits": Limits(memory=512 * MEGABYTE, cpus=1.0),
    }
    return Launch(**(given | changes))


def some_record(**changes: Any) -> Record:
    """Return a record of nothing in particular."""
    given: dict[str, Any] = {
        "id": new_id(),
        "name": "shop",
        "database": "db",
        "username": "me",
        "password": Secret("s3cret-of-mine"),
        "created_at": datetime.now(UTC),
    }
    return Record(**(given | changes))


def an_hour_from_now() -> datetime:
    """Return a moment on a whole second, as leases are kept."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)


def wait_until(come: Callable[[], object], *, seconds: float = 30.0) -> None:
    """Return when `come()` is true; raises when that takes too long."""
    deadline = Deadline(seconds)
    while not come():
        deadline.check("waiting for what a test expects")
        deadline.sleep(0.02)


def patience() -> Deadline:
    """Return a deadline that only ever ends when it is cancelled."""
    return Deadline(inf)


def run_together(*calls: Callable[[], object]) -> list[Exception]:
    """Run the calls on a thread each, let them begin at once, and return what they raised."""
    barrier = threading.Barrier(len(calls))
    raised: list[Exception] = []

    def run(call: Callable[[], object]) -> None:
        barrier.wait()
        try:
            call()
        except Exception as exc:  # noqa: BLE001 - handed to the test, which judges it
            raised.append(exc)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def new_session() -> str:
    return f"test-{new_id()}"


@dataclass
class MemoryStage:
    """The in-memory world."""

    world: MemoryWorld
    name: str = "memory"
    version: str = "17"
    memory: int = 512 * MEGABYTE
    session: str = field(default_factory=new_session)

    @property
    def sql(self) -> Sql:
        return MemorySql(self.world)

    def runtime(self, ports: range = PORTS, *, client: str = HERE) -> Runtime:
        return MemoryRuntime(self.world, ports)

    def add_base(self) -> str:
        ref = f"{self.session}:{self.version}"
        self.world.renew_image(ref)
        return ref

    def kill(self, container_id: str) -> None:
        self.world.kill(container_id)

    def pause(self, container_id: str) -> None:
        edit_container(self.world, container_id, state="paused")

    def close(self) -> None:
        """Nothing outlives the world."""


@dataclass
class DockerStage:
    """The engine that the docker command would use."""

    options: DockerOptions
    version: str
    name: str = "docker"
    session: str = field(default_factory=new_session)
    memory: int = 512 * MEGABYTE

    def __post_init__(self) -> None:
        self._runtimes: list[DockerRuntime] = []
        self._bases: list[str] = []
        self._disk = tempfile.TemporaryDirectory(prefix="dpm-", ignore_cleanup_errors=True)
        first = self.runtime()
        self.api = docker.APIClient(base_url=first.engine().address, version="auto")

    @property
    def sql(self) -> Sql:
        return PsycopgSql()

    def runtime(self, ports: range = PORTS, *, client: str = HERE) -> DockerRuntime:
        directory = Path(self._disk.name) / client
        runtime = DockerRuntime(replace(self.options, ports=ports, state_directory=directory))
        self._runtimes.append(runtime)
        return runtime

    def add_base(self) -> str:
        """Return the name of an image like the official one, under an id of its own."""
        created = self.api.create_container(f"postgres:{self.version}", labels=self._mark)
        repository = f"{_TEST_REPOSITORY}/{self.session}"
        labels = {**self._mark, "tests.number": str(len(self._bases))}
        self.api.commit(created["Id"], repository=repository, tag=self.version, conf={"Labels": labels})
        self._bases.append(f"{repository}:{self.version}")
        return self._bases[-1]

    def kill(self, container_id: str) -> None:
        self.run(container_id, f"kill -9 $(head -n 1 {PGDATA}/postmaster.pid)")
        self.run(container_id, f"until [ -e {STATE_DIRECTORY}/exit ]; do sleep 0.01; done")

    def run(self, container_id: str, script: str) -> str:
        """Run a shell script inside, as the server's own user, and return what it prints."""
        command = self.api.exec_create(container_id, ["/bin/sh", "-c", script])["Id"]
        output = bytes(self.api.exec_start(command)).decode()
        assert self.api.exec_inspect(command)["ExitCode"] == 0, output
        return output

    def pause(self, container_id: str) -> None:
        self.api.pause(container_id)

    def add_foreign(self, *, name: str = "", labels: dict[str, str] | None = None) -> str:
        """Create, and do not start, a container that is not ours; return its id."""
        created = self.api.create_container(
            f"postgres:{self.version}", name=name or None, labels={**(labels or {}), **self._mark}
        )
        return str(created["Id"])

    def close(self) -> None:
        """Remove by id what carries this stage's session, then let go of the engine."""
        maker, mark = f"{LABEL}maker={self.session}", f"tests.session={self.session}"
        for label in (maker, mark):
            for found in self.api.containers(all=True, filters={"label": label}):
                with suppress(docker.errors.NotFound):
                    self.api.remove_container(found["Id"], v=True, force=True)
        # What a base of ours was prepared into inherits its label, and what is frozen its maker's; children first.
        for label in (maker, mark):
            images = self.api.images(filters={"label": label})
            for image in sorted(images, key=lambda image: image["Created"], reverse=True):
                with suppress(docker.errors.APIError):
                    self.api.remove_image(image["Id"], force=True)
        self.api.close()
        for runtime in self._runtimes:
            with suppress(DevPostgresError):
                runtime.close()
        self._disk.cleanup()

    @property
    def _mark(self) -> dict[str, str]:
        return {"tests.session": self.session}


def edit_container(world: MemoryWorld, container_id: str, **changes: Any) -> None:
    """Let something happen to a container of the world."""
    body = world.body(container_id)
    body.container = replace(body.container, **changes)


def open_docker_stage(settings: Settings) -> Iterator[DockerStage]:
    """Yield the stage over the engine of this machine; no engine is a failure, never a skip."""
    options = docker_options(settings, read_surroundings())
    try:
        stage = DockerStage(options, version=os.environ.get("POSTGRES_TEST_VERSION", "17"))
    except DevPostgresError as exc:
        pytest.fail(f"this test needs a Docker Engine (`make engine`): {exc.explain()}")
    try:
        yield stage
    finally:
        stage.close()
