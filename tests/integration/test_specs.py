"""What can be asked for, and that the server is as it was asked for."""

from __future__ import annotations

import gzip
import socket
import socketserver
import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.app import assemble_app
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.model import Secret
from dev_postgres_mcp.runtimes.docker import DockerRuntime
from dev_postgres_mcp.settings import load_settings
from tests.helpers.stages import ROOMY, DockerStage, build_app, owner_of
from tests.integration.queries import databases, dsn_of, roles, rows, value
from tests.integration.shell import inspect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Create

pytestmark = pytest.mark.docker

OWN = {"postgres", "template0", "template1"}
"""Databases that every cluster has."""


@pytest.mark.parametrize("version", ["15", "17", "18"])
def test_a_version_is_served_by_its_own_server(create: Create, version: str) -> None:
    instance = create(version=version, database="shop", username="keeper")
    assert (instance.version, instance.image) == (version, f"postgres:{version}")
    assert value(dsn_of(instance), "SHOW server_version").split(".")[0] == version
    assert value(dsn_of(instance), "SHOW data_directory").startswith("/var/lib/dev-postgres-mcp/")
    assert inspect(instance.container_id)["Mounts"] == []


def test_an_image_with_busybox_for_a_shell_works(create: Create) -> None:
    instance = create(image="postgres:17-alpine", database="it's", username='a "b"')
    assert (instance.version, instance.image) == ("17", "postgres:17-alpine")
    assert value(dsn_of(instance), "SELECT current_database()") == "it's"


def test_database_user_and_password_of_the_callers_choice(create: Create) -> None:
    password = "päss wörd '\"\\$%/:@?#&=` -- ; 🐘"
    instance = create(database="shop", username="keeper", password=Secret(password))
    dsn = dsn_of(instance)
    assert rows(dsn, "SELECT current_database(), current_user, usesuper FROM pg_user") == [
        ("shop", "keeper", True)
    ]
    assert databases(dsn) == OWN | {"shop"}
    assert roles(dsn) == {"keeper"}


def test_limits_labels_and_a_display_name_reach_the_container(create: Create, stage: DockerStage) -> None:
    labels = {"suite": "a b", "=": "x=y", "quote": "'\"\\", "ключ": "naïve\n🐘", "empty": ""}
    instance = create(name="the shop's 🐘", memory="256m", cpus=0.5, labels=labels)
    seen = build_app(stage).manager.get(instance.id)
    assert (seen.name, seen.labels) == ("the shop's 🐘", labels)
    limits = inspect(instance.container_id)["HostConfig"]
    assert (limits["Memory"], limits["MemorySwap"], limits["NanoCpus"]) == (
        256 * 1024**2,
        256 * 1024**2,
        500_000_000,
    )


def test_extensions_and_settings_are_there_at_the_first_login(create: Create) -> None:
    instance = create(
        database='shop "of" things',
        extensions=["earthdistance", "pg_stat_statements"],
        settings={
            "shared_preload_libraries": "pg_stat_statements",
            "work_mem": "12MB",
            "application_name": 'it\'s $HOME; a "test"',
            "max_connections": "30",
            "fsync": "on",
        },
    )
    dsn = dsn_of(instance)
    installed = {name for (name,) in rows(dsn, "SELECT extname FROM pg_extension")}
    assert installed == {"plpgsql", "cube", "earthdistance", "pg_stat_statements"}
    assert value(dsn, "SHOW work_mem") == "12MB"
    assert value(dsn, "SHOW fsync") == "on"
    assert value(dsn, "SHOW application_name") == 'it\'s $HOME; a "test"'
    assert value(dsn, "SELECT count(*) > 0 FROM pg_stat_statements") is True
    assert inspect(instance.container_id)["HostConfig"]["PidsLimit"] >= 80


def write_init(directory: Path) -> Path:
    """Three scripts that only work in the order of their names, and what must not be run."""
    directory.mkdir()
    (directory / "10-table.sql").write_text("CREATE TABLE steps (n serial, step text);\n")
    (directory / "20 more.sql.gz").write_bytes(gzip.compress(b"INSERT INTO steps (step) VALUES ('gz');\n"))
    (directory / "30-shell.sh").write_text(
        'psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" '
        "-c \"INSERT INTO steps (step) VALUES ('sh')\"\n"
    )
    (directory / "40-file.sql").write_text(
        "COPY steps (step) FROM '/docker-entrypoint-initdb.d/data/rows.csv';\n"
    )
    (directory / "99-notes.txt").write_text("not a script")
    (directory / "data").mkdir()
    (directory / "data" / "rows.csv").write_text("csv\n")
    (directory / "data" / "ignored.sql").write_text("DROP TABLE steps;\n")
    return directory


STEPS = "SELECT step FROM steps ORDER BY n"


def test_a_directory_of_init_scripts_runs_in_the_order_of_its_names(create: Create, tmp_path: Path) -> None:
    instance = create(database="shop", init=write_init(tmp_path / "init"))
    assert rows(dsn_of(instance), STEPS) == [("gz",), ("sh",), ("csv",)]


def test_init_scripts_run_in_a_database_of_any_name(create: Create, tmp_path: Path) -> None:
    names = {"database": "a=b 'c' \"d\"", "username": "-e $f %g"}
    instance = create(init=write_init(tmp_path / "init"), **names)
    dsn = dsn_of(instance)
    assert rows(dsn, STEPS) == [("gz",), ("sh",), ("csv",)]
    assert rows(dsn, "SELECT tableowner FROM pg_tables WHERE tablename = 'steps'") == [(names["username"],)]
    assert databases(dsn) == OWN | {names["database"]}
    assert roles(dsn) == {names["username"]}


@pytest.mark.parametrize(
    "name, content",
    [
        ("one.sql", b"CREATE TABLE one AS SELECT 1 AS n;\n"),
        ("one.sql.gz", gzip.compress(b"CREATE TABLE one AS SELECT 1 AS n;\n")),
    ],
    ids=["plain", "packed"],
)
def test_one_init_file_runs(create: Create, tmp_path: Path, name: str, content: bytes) -> None:
    script = tmp_path / name
    script.write_bytes(content)
    assert rows(dsn_of(create(init=script)), "SELECT n FROM one") == [(1,)]


@pytest.fixture
def tcp_engine(stage: DockerStage) -> Iterator[str]:
    """The same engine behind a TCP address: what goes over the socket is all that it gets."""
    address = stage.runtime().engine().address
    if not address.startswith("unix://"):
        yield address
        return
    with Forwarder(("127.0.0.1", 0), Forwarding) as server:
        server.path = address.removeprefix("unix://")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"tcp://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class Forwarder(socketserver.ThreadingTCPServer):
    """Listens on TCP and passes all on to a unix socket; waits for its connections when it is closed."""

    path = ""


class Forwarding(socketserver.BaseRequestHandler):
    """One connection."""

    def handle(self) -> None:
        assert isinstance(self.server, Forwarder)
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self.server.path)
            back = threading.Thread(target=forward, args=(engine, self.request))
            back.start()
            forward(self.request, engine)
            back.join()


def forward(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def test_init_files_travel_through_the_engines_api(
    stage: DockerStage, tcp_engine: str, tmp_path: Path
) -> None:
    environment = replace(stage.options.environment, docker_host=tcp_engine)
    runtime = DockerRuntime(replace(stage.options, environment=environment))
    settings = load_settings(ROOMY).settings
    app = assemble_app(settings, runtime=runtime, sql=stage.sql, owner=owner_of(stage))
    try:
        instance = app.manager.create(build_spec(app.defaults, init=write_init(tmp_path / "init")))
        assert runtime.engine().address == tcp_engine
        assert rows(dsn_of(instance), STEPS) == [("gz",), ("sh",), ("csv",)]
        assert inspect(instance.container_id)["HostConfig"]["Binds"] is None
        app.manager.drop([instance.id])
    finally:
        app.close()
