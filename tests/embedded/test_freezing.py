"""Copies of running servers: whole, with every commit, and shared with the original where the file system can."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from dev_postgres_mcp.errors import EngineFailed
from dev_postgres_mcp.runtimes.embedded import copying, processes
from dev_postgres_mcp.runtimes.embedded.providers import find_provider
from dev_postgres_mcp.runtimes.embedded.storage import Storage
from tests.embedded.conftest import begin
from tests.helpers.acts import branch, conninfo_of, create, freeze
from tests.helpers.embedded import EmbeddedStage
from tests.helpers.stages import build_app, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Conninfo
    from dev_postgres_mcp.runtimes.embedded.runtime import EmbeddedRuntime
    from tests.embedded.conftest import Body

MEGABYTE = 1024**2


def query(conninfo: Conninfo, statement: str) -> object:
    with psycopg.connect(conninfo.dsn(), autocommit=True) as client:
        row = client.execute(statement.encode()).fetchone()
        return row[0] if row else None


def run(conninfo: Conninfo, script: str) -> None:
    with psycopg.connect(conninfo.dsn(), autocommit=True) as client:
        client.execute(script.encode())


def test_a_snapshot_under_load_has_every_commit_that_was_made_before(stage: EmbeddedStage) -> None:
    app = build_app(stage)
    source = conninfo_of(create(app))
    run(source, "CREATE TABLE ledger (n bigint, half text)")
    stop, written = threading.Event(), [0]

    def write() -> None:
        """Two rows in one transaction: a copy may have both or none."""
        with psycopg.connect(source.dsn()) as client:
            while not stop.is_set():
                number = written[0] + 1
                client.execute("INSERT INTO ledger VALUES (%s, 'a')", [number])
                client.execute("INSERT INTO ledger VALUES (%s, 'b')", [number])
                client.commit()
                written[0] = number

    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: written[0] > 0)
        instance = app.manager.list().instances[0]
        for _ in range(3):
            before = written[0]
            taken = app.snapshots.take(instance.id)
            copy = conninfo_of(branch(app, taken.id))
            assert (
                query(
                    copy, "SELECT count(*) FROM (SELECT n FROM ledger GROUP BY n HAVING count(*) <> 2) torn"
                )
                == 0
            )
            assert int(str(query(copy, "SELECT coalesce(max(n), 0) FROM ledger"))) >= before
            assert query(copy, "SELECT count(DISTINCT n) = max(n) FROM ledger") is True
    finally:
        stop.set()
        writer.join()
    assert query(source, "SELECT max(n) FROM ledger") == written[0], "the writer was never disconnected"


def test_a_server_goes_on_at_once_after_a_copy(body: Body, runtime: EmbeddedRuntime) -> None:
    freeze(body.stage, runtime, body.container, "whole")
    assert not any(processes.stands_still(pid) for pid in body.stage.processes(body.container.container_id))
    assert query(body.conninfo, "SELECT 1") == 1


def test_a_cluster_with_a_tablespace_elsewhere_is_not_copied(
    body: Body, runtime: EmbeddedRuntime, tmp_path: Path
) -> None:
    """The copy would share it with the original."""
    elsewhere = tmp_path / "space"
    elsewhere.mkdir(mode=0o777)
    run(body.conninfo, f"CREATE TABLESPACE elsewhere LOCATION '{elsewhere}'")
    with pytest.raises(EngineFailed, match="tablespace"):
        freeze(body.stage, runtime, body.container, "torn")
    assert [stored.name for stored in runtime.images() if stored.name == "torn"] == []
    assert query(body.conninfo, "SELECT 1") == 1


def test_a_full_disk_leaves_no_half_copy_and_the_source_goes_on(small_disk: EmbeddedStage) -> None:
    app = build_app(small_disk)
    source = create(app)
    run(
        conninfo_of(source),
        "CREATE TABLE big AS SELECT repeat('x', 1000) AS x FROM generate_series(1, 20000)",
    )
    images: set[str] = set()

    def fill() -> None:
        for _ in range(20):
            images.update(stored.image.id for stored in app.runtime.images())
            app.snapshots.take(source.id)

    with pytest.raises(EngineFailed, match="No space left"):
        fill()
    assert {stored.image.id for stored in app.runtime.images()} == images
    kept = {image.removeprefix("sha256:") for image in images}
    assert {path.name for path in (small_disk.options.directory / "images").iterdir()} == kept
    assert query(conninfo_of(source), "SELECT count(*) FROM big") == 20000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[EmbeddedStage]:
    """A file system of little more than two clusters."""
    yield from mounted(tmp_path, "ext4", 160)


@pytest.fixture
def sharing_disk(tmp_path: Path) -> Iterator[EmbeddedStage]:
    """A file system on which copies share their blocks."""
    yield from mounted(tmp_path, "xfs", 512)


def mounted(directory: Path, kind: str, megabytes: int) -> Iterator[EmbeddedStage]:
    image, point = directory / "disk", directory / "mounted"
    point.mkdir()
    with image.open("wb") as file:
        file.truncate(megabytes * MEGABYTE)
    make = {"xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"], "ext4": ["mkfs.ext4", "-q"]}[kind]
    subprocess.run([*make, str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(point)], check=True)
    stage = EmbeddedStage(storage=Storage.DISK, root=point / "state")
    try:
        yield stage
    finally:
        stage.close()
        # A supervisor that has put everything away may take a moment to be gone itself.
        wait_until(lambda: subprocess.run(["umount", str(point)], check=False).returncode == 0)


def used(directory: Path) -> int:
    """Return the bytes that are used on the file system of a directory."""
    subprocess.run(["sync", "-f", str(directory)], check=True)
    shown = subprocess.run(
        ["df", "--output=used", "-B1", str(directory)], check=True, capture_output=True, text=True
    )
    return int(shown.stdout.split()[1])


def test_where_the_file_system_can_snapshots_and_branches_share_their_blocks(
    sharing_disk: EmbeddedStage,
) -> None:
    app = build_app(sharing_disk)
    assert app.runtime.engine().disk == "copies share blocks"
    source = create(app)
    run(
        conninfo_of(source),
        "CREATE TABLE big AS SELECT repeat('x', 1000) AS x FROM generate_series(1, 60000)",
    )
    run(conninfo_of(source), "CHECKPOINT")
    before = used(sharing_disk.options.directory)
    taken = app.snapshots.take(source.id)
    assert taken.size > 60 * MEGABYTE
    assert used(sharing_disk.options.directory) - before < 10 * MEGABYTE
    one = branch(app, taken.id)
    assert query(conninfo_of(one), "SELECT count(*) FROM big") == 60000
    run(conninfo_of(one), "DELETE FROM big")
    assert query(conninfo_of(source), "SELECT count(*) FROM big") == 60000
    app.snapshots.restore(source.id, taken.id)
    assert query(conninfo_of(source), "SELECT count(*) FROM big") == 60000


def test_a_copy_is_the_same_byte_for_byte(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "base").mkdir(parents=True)
    (source / "base" / "1").write_bytes(bytes(range(256)) * 5000)
    (source / "base" / "empty").write_bytes(b"")
    (source / "postmaster.pid").write_text("1")
    (source / "pg_stat_tmp").mkdir()
    (source / "pg_stat_tmp" / "x").write_text("x")
    copying.copy_cluster(str(source), str(target))
    assert (target / "base" / "1").read_bytes() == (source / "base" / "1").read_bytes()
    assert (target / "base" / "empty").read_bytes() == b""
    assert not (target / "postmaster.pid").exists()
    assert list((target / "pg_stat_tmp").iterdir()) == []


def test_a_cluster_starts_without_maps_and_gets_them_when_they_are_needed(body: Body) -> None:
    with psycopg.connect(body.conninfo.dsn(), autocommit=True) as connection:
        row = connection.execute("SELECT pg_relation_filepath('pg_proc')").fetchone()
        assert row is not None
        table = body.data / str(row[0])
        maps = [table.with_name(f"{table.name}{fork}") for fork in ("_fsm", "_vm")]
        assert [path for path in maps if path.exists()] == []
        connection.execute("CREATE FUNCTION one() RETURNS int LANGUAGE sql RETURN 1")
        connection.execute("VACUUM (FULL off) pg_proc")
        assert [path for path in maps if not path.exists()] == []
        assert connection.execute("SELECT one(), count(*) > 3000 FROM pg_proc").fetchone() == (1, True)


def test_a_snapshot_of_18_is_branched_with_the_programs_of_18(stage: EmbeddedStage) -> None:
    app: App = build_app(stage)
    assert find_provider(None, "18").major == "18"
    source = create(app, version="18")
    run(conninfo_of(source), "CREATE TABLE kept AS SELECT 1 AS n")
    one = branch(app, source.id)
    assert (source.version, one.version) == ("18", "18")
    assert str(query(conninfo_of(one), "SHOW server_version")).startswith("18")
    assert query(conninfo_of(one), "SELECT n FROM kept") == 1


def test_bodies_have_what_is_looked_for(stage: EmbeddedStage) -> None:
    """The tests of this folder would pass on nothing."""
    assert len(begin(stage).left()) > 3
