"""Where a benchmark plays: the engine of this machine, with base images of its own.

A base image of its own is a copy of the official one under another id.  Spares and prepared images belong to a
base image, so that nobody else's are taken, nobody takes these, and each subject begins with none.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Self

import docker
import docker.errors
import psycopg
import requests.exceptions

from dev_postgres_mcp import __version__
from dev_postgres_mcp.app import App, assemble_app, docker_options
from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import DevPostgresError
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.model import Owner
from dev_postgres_mcp.parsing import new_id
from dev_postgres_mcp.runtimes.base import Capabilities, Role
from dev_postgres_mcp.runtimes.docker import DockerRuntime
from dev_postgres_mcp.settings import Settings, read_surroundings
from dev_postgres_mcp.sql.client import PsycopgSql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from dev_postgres_mcp.model import Instance

VERSION = "17"
OFFICIAL = f"postgres:{VERSION}"
MARK = "benchmarks.session"
"""Label on all that a benchmark makes without our program."""
_MAKER = "dev-postgres-mcp.maker"
_MAX_INSTANCES, _MAX_MEMORY = 10_000, 1024**5
_PATIENCE = 120.0
_CREATORS = 6
_POLL_SECONDS = 0.02


class Unprepared(DockerRuntime):
    """The same runtime without prepared images: every create initialises its cluster, as the official image does."""

    capabilities = Capabilities(psql="docker")


@dataclass(frozen=True, kw_only=True)
class Client:
    """One user's machine as the program sees it: a base image, and a directory for what is kept there."""

    repository: str
    state_home: Path
    session: str

    def app(self, *, prepared: bool = True, idle_timeout: float | None = None) -> App:
        """Return the program in this process."""
        settings = Settings(
            image_repository=self.repository,
            session=self.session,
            idle_timeout=idle_timeout,
            max_instances=_MAX_INSTANCES,
            max_total_memory=_MAX_MEMORY,
        )
        directory = self.state_home / "dev-postgres-mcp"
        options = replace(docker_options(settings, read_surroundings()), state_directory=directory)
        return assemble_app(
            settings,
            runtime=DockerRuntime(options) if prepared else Unprepared(options),
            sql=PsycopgSql(),
            owner=Owner(session=self.session, process="benchmark"),
        )

    def environment(self) -> dict[str, str]:
        """Return the environment of the program in a process of its own."""
        settings = {
            "IMAGE_REPOSITORY": self.repository,
            "SESSION": self.session,
            "MAX_INSTANCES": str(_MAX_INSTANCES),
            "MAX_TOTAL_MEMORY": str(_MAX_MEMORY),
        }
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("DEV_POSTGRES_")}
        return {
            **inherited,
            **{f"DEV_POSTGRES_MCP_{name}": value for name, value in settings.items()},
            "XDG_STATE_HOME": str(self.state_home),
            "XDG_CONFIG_HOME": str(self.state_home / "config"),
        }

    def renewed(self) -> Client:
        """Return the same user on a machine that knows nothing yet."""
        return replace(self, state_home=self.state_home.parent / new_id())


class Ground:
    """A context manager; at its end all that was made below it is removed."""

    def __init__(self) -> None:
        """Touch nothing yet."""
        self.session = f"bench-{new_id()}"
        self.mark = {MARK: self.session}
        self._disk = tempfile.TemporaryDirectory(prefix="dpm-bench-", ignore_cleanup_errors=True)
        self._apps: list[App] = []

    def __enter__(self) -> Self:
        """Reach the engine."""
        app = self.open(Client(repository="postgres", state_home=self._new_home(), session=self.session))
        self._engine = app.runtime.engine()
        self.api = docker.APIClient(base_url=self._engine.address, version="auto", timeout=round(_PATIENCE))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove by id what carries this session, images after the containers on them, children first."""
        labels = (f"{_MAKER}={self.session}", f"{MARK}={self.session}")
        for label in labels:
            for found in self.api.containers(all=True, filters={"label": label}):
                with suppress(docker.errors.APIError, requests.exceptions.RequestException):
                    self.api.remove_container(found["Id"], v=True, force=True)
        for label in labels:
            images = self.api.images(filters={"label": label})
            for image in sorted(images, key=lambda image: int(image["Created"]), reverse=True):
                with suppress(docker.errors.APIError, requests.exceptions.RequestException):
                    self.api.remove_image(image["Id"], force=True)
        self.api.close()
        for app in self._apps:
            with suppress(DevPostgresError):
                app.close()
        self._disk.cleanup()

    def client(self) -> Client:
        """Return a user with a base image of their own, who knows nothing yet."""
        repository = f"dev-postgres-mcp-benchmarks/{new_id()}"
        created = self.api.create_container(OFFICIAL, labels=self.mark)["Id"]
        labels = {**self.mark, "benchmarks.base": repository}
        self.api.commit(created, repository=repository, tag=VERSION, conf={"Labels": labels})
        self.api.remove_container(created, v=True, force=True)
        return Client(repository=repository, state_home=self._new_home(), session=self.session)

    def open(self, client: Client, *, prepared: bool = True, idle_timeout: float | None = None) -> App:
        """Return a client's program in this process; it is closed with the ground."""
        app = client.app(prepared=prepared, idle_timeout=idle_timeout)
        self._apps.append(app)
        return app

    def describe(self) -> list[str]:
        """Return what the numbers depend on."""
        engine = self._engine
        others = len(self.api.containers())
        return [
            f"dev-postgres-mcp {__version__}",
            f"Python {platform.python_version()}",
            f"{OFFICIAL}",
            f"Docker {engine.version} ({engine.disk})",
            f"{platform.system()} {platform.machine()}, {engine.cpus} cores, {engine.memory / 1024**3:.0f} GB",
            f"{others} other containers" if others else "no other containers",
            *describe_load(),
        ]

    def _new_home(self) -> Path:
        return Path(self._disk.name) / new_id()


def describe_load() -> list[str]:
    """Return how busy the machine is before we make it so; nothing where it does not say."""
    return [f"load {os.getloadavg()[0]:.1f} before it began"] if hasattr(os, "getloadavg") else []


def create(app: App) -> Instance:
    """Return a new instance of the defaults."""
    return app.manager.create(build_spec(app.defaults))


def create_many(app: App, count: int, *, at_once: int = _CREATORS) -> list[Instance]:
    """Return that many instances, created some at once."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda _: create(app), range(count)))


def query(instance: Instance) -> None:
    """Log in as any client does, and ask for one row."""
    assert instance.conninfo is not None
    query_dsn(instance.conninfo.dsn())


def query_dsn(dsn: str) -> None:
    """Log in as any client does, and ask for one row."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT 1")


def wait_spare(app: App) -> None:
    """Return when a spare of this app's base image answers."""
    base = app.runtime.find_image(build_spec(app.defaults).image)
    assert base is not None
    deadline = Deadline(_PATIENCE)
    while not _answers(app, base.id):
        if deadline.remaining() <= 0:
            fill_pool(app)  # says why there can be none, if it cannot
            raise AssertionError("the server has made no spare")
        time.sleep(_POLL_SECONDS)


def fill_pool(app: App) -> None:
    """Start the one spare that a server keeps."""
    app.pool.fill(1, seconds=_PATIENCE, deadline=Deadline(inf))


def find_command() -> list[str]:
    """Return how to start the program: its console script beside this Python, else the module."""
    script = shutil.which("dev-postgres-mcp", path=str(Path(sys.executable).parent))
    return [script] if script else [sys.executable, "-m", "dev_postgres_mcp"]


def run_program(client: Client, *command: str) -> str:
    """Run a program as a client's process to its end and return its stdout; a failure says what it said."""
    done = subprocess.run(
        command, env=client.environment(), capture_output=True, text=True, check=False, timeout=_PATIENCE
    )
    assert done.returncode == 0, f"{command}: exit code {done.returncode}: {done.stderr}"
    return done.stdout


@contextmanager
def dropping(app: App, *instances: Instance) -> Iterator[None]:
    """Drop instances at the end, whatever happens."""
    try:
        yield
    finally:
        app.manager.drop([instance.id for instance in instances])


def _answers(app: App, base_id: str) -> bool:
    for container in app.runtime.list():
        if container.role is Role.SPARE and container.running and container.base_id == base_id:
            with suppress(DevPostgresError, psycopg.OperationalError):
                state = app.runtime.read_state(container)
                if state is not None:
                    query_dsn(state.record.conninfo(container.endpoint).dsn())
                    return True
    return False
