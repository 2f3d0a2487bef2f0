"""Where local servers play: a directory of their own, and the least that a server's start can be."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dev_postgres_mcp.app import assemble_app
from dev_postgres_mcp.errors import DevPostgresError
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.model import Owner
from dev_postgres_mcp.runtimes.embedded import copying
from dev_postgres_mcp.runtimes.embedded.providers import find_provider
from dev_postgres_mcp.runtimes.embedded.runtime import EmbeddedOptions, EmbeddedRuntime
from dev_postgres_mcp.runtimes.embedded.storage import MEMORY, Storage
from dev_postgres_mcp.runtimes.throwaway import throwaway_settings
from dev_postgres_mcp.settings import Settings, read_surroundings
from dev_postgres_mcp.sql.client import PsycopgSql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev_postgres_mcp.app import App

ORDINARY_USER = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
"""How root starts what refuses root."""
VERSION = "17"
_READY_LINE = 8
_POLL_SECONDS = 0.001
_PATIENCE = 30.0


@contextmanager
def local_home() -> Iterator[Path]:
    """Yield a directory where servers really lie: the usual one for temporary files may be in memory.

    Whatever was started in or below it is gone at the end, and so is the directory.
    """
    place = read_surroundings().server_directory.parent
    place.mkdir(parents=True, exist_ok=True)
    with temporary_directory(place) as home:
        yield home


@contextmanager
def temporary_directory(place: Path) -> Iterator[Path]:
    """Yield a directory that others may pass, as the user that a server runs as; it goes at the end."""
    home = Path(tempfile.mkdtemp(prefix="dpm-bench-", dir=place))
    home.chmod(0o711)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def open_local(storage: Storage) -> Iterator[App]:
    """Yield the program on local servers, with a prepared cluster, in a directory of its own."""
    with local_home() as home, removing_servers(home):
        app = open_app(home, storage)
        app.images.prepare(build_spec(app.defaults).image)
        yield app


def open_app(home: Path, storage: Storage) -> App:
    """Return the program on the local servers of a directory."""
    settings = Settings(version=VERSION, max_instances=10_000, max_total_memory=1024**5)
    options = EmbeddedOptions(directory=home, ports=settings.port_range, storage=storage)
    return assemble_app(
        settings, runtime=EmbeddedRuntime(options), sql=PsycopgSql(), owner=Owner(session="benchmark")
    )


@contextmanager
def removing_servers(directory: Path) -> Iterator[None]:
    """Remove every server of a directory at the end, whoever has started it."""
    try:
        yield
    finally:
        runtime = open_app(directory, Storage.DISK).runtime
        for container in runtime.list():
            with suppress(DevPostgresError):
                runtime.remove(container.container_id)


def place_in_memory() -> Path:
    """Return where files lie in memory; where the system has no such place, the one for temporary files."""
    return MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir())


@dataclass(frozen=True, kw_only=True)
class BareServer:
    """Starts `postgres` on a copy of a cluster and ends it: no copying, no password, no login in the time."""

    program: Path
    cluster: Path
    home: Path

    def start(self) -> float:
        """Return the seconds until a server says that it is ready."""
        data = self.home / "bare"
        copying.copy_cluster(str(self.cluster), str(data))
        try:
            with _free_port() as port:
                command = [*as_ordinary_user(), *bare_command(self.program, data, port)]
            started = time.perf_counter()
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd="/")
            try:
                _wait_ready(data, process, started + _PATIENCE)
                return time.perf_counter() - started
            finally:
                process.send_signal(signal.SIGQUIT)
                process.wait()
        finally:
            copying.remove_tree(str(data))


def bare_command(program: Path, data: Path, port: int) -> list[str]:
    """Return how a server is started with an instance's settings; SIGQUIT ends it."""
    ours = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "timezone": "GMT"}
    settings = {**throwaway_settings(VERSION), **ours, "dynamic_shared_memory_type": "mmap"}
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(program), "-D", str(data), *options]


def find_program(name: str) -> Path:
    """Return one of the programs that local servers are made with."""
    return find_provider(None, VERSION).program(name)


def as_ordinary_user() -> tuple[str, ...]:
    """Return what stands before a command that refuses root."""
    return ORDINARY_USER if sys.platform != "win32" and os.geteuid() == 0 else ()


def _wait_ready(data: Path, process: subprocess.Popen[bytes], end: float) -> None:
    while True:
        with suppress(FileNotFoundError):
            lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
            if len(lines) >= _READY_LINE and lines[_READY_LINE - 1].strip() == "ready":
                return
        assert process.poll() is None and time.perf_counter() < end, "the bare server does not start"  # noqa: PT018
        time.sleep(_POLL_SECONDS)


@contextmanager
def _free_port() -> Iterator[int]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield int(one.getsockname()[1])
