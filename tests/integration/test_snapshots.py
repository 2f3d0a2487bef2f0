"""Time travel on a real engine: what a snapshot holds, what a branch and a restore give back, and to whom."""

from __future__ import annotations

import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg.errors
import pytest

from dev_postgres_mcp.errors import ServerNotReady
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.instances.specs import build_branch_spec
from dev_postgres_mcp.model import Status
from tests.helpers.stages import build_app
from tests.integration.own import OwnWorld
from tests.integration.queries import databases, dsn_of, roles, rows, value
from tests.integration.shell import docker, exists, inspect, run_inside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance
    from tests.helpers.stages import DockerStage
    from tests.integration.conftest import Create

pytestmark = pytest.mark.docker

PROMPTLY = 1.0
"""Seconds that a client may be without its server while it is restored."""
BUSY_MACHINE = 2.0
"""Seconds that a shared machine may add."""


@pytest.fixture(scope="module")
def program(stage: DockerStage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Our program over a base image that nobody else has, so that all that is made from it can be put away."""
    own = OwnWorld(stage, tmp_path_factory.mktemp("disk"))
    yield own.app
    own.close()


@pytest.fixture
def create(program: App) -> Iterator[Create]:
    """Create instances for this test only."""
    made: list[str] = []

    def create(**asked: Any) -> Instance:
        instance = program.manager.create(build_spec(program.defaults, **asked))
        made.append(instance.id)
        return instance

    yield create
    program.manager.drop(made)


def branch(program: App, source: str, **asked: Any) -> Instance:
    """Return a branch, which is put away with all that stands on its base image."""
    return program.snapshots.branch(source, build_branch_spec(program.defaults, **asked))


def run(dsn: str, *statements: str) -> None:
    """Run statements, each in a transaction of its own."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


# --- what is in it --------------------------------------------------------------------------------------


@pytest.fixture(params=["15", "17", "18"])
def any_version(stage: DockerStage, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OwnWorld]:
    """A base image of each version."""
    own = OwnWorld(stage, tmp_path / "disk", version=request.param)
    yield own
    own.close()


def test_a_snapshot_holds_the_whole_cluster(any_version: OwnWorld) -> None:
    program = any_version.app
    source = program.manager.create(build_spec(program.defaults, database="shop", username="keeper"))
    dsn = dsn_of(source)
    run(
        dsn,
        "CREATE ROLE clerk LOGIN PASSWORD 'of-the-clerk' CONNECTION LIMIT 7",
        'CREATE DATABASE "a second one\'s"',
        "CREATE DATABASE third OWNER clerk",
        "ALTER DATABASE shop SET statement_timeout = '77s'",
        "ALTER ROLE clerk SET search_path = stock",
        "ALTER SYSTEM SET work_mem = '11MB'",
        "SELECT pg_reload_conf()",
        "CREATE SCHEMA stock",
        "CREATE TABLE stock.items (n int PRIMARY KEY, name text)",
        "INSERT INTO stock.items SELECT n, 'item ' || n FROM generate_series(1, 1000) n",
        "CREATE SEQUENCE tickets",
        "SELECT nextval('tickets') FROM generate_series(1, 41)",
        "SELECT lo_from_bytea(4711, decode(repeat('ab', 100000), 'hex'))",
        "CREATE TABLE notes AS SELECT repeat(md5(random()::text), 5000) AS long",
    )
    run(dsn.replace("/shop", "/third"), "CREATE TABLE there AS SELECT 3 AS n")
    questions = (
        "SELECT count(*), max(name) FROM stock.items",
        "SELECT md5(string_agg(long, '')) FROM notes",
        "SELECT md5(lo_get(4711))",
        "SELECT rolname, rolconnlimit, rolconfig FROM pg_roles WHERE rolname = 'clerk'",
        "SELECT rolpassword FROM pg_authid WHERE rolname = 'clerk'",
        "SELECT datname, rolname FROM pg_database JOIN pg_roles r ON r.oid = datdba ORDER BY 1",
        "SELECT name, setting FROM pg_file_settings WHERE name = 'work_mem'",
        "SHOW work_mem",
        "SHOW statement_timeout",
    )
    answers = {question: rows(dsn, question) for question in questions}

    snapshot = program.snapshots.take(source.id)
    made = branch(program, snapshot.name)

    assert (snapshot.source, snapshot.version, snapshot.image) == (
        source.id,
        source.version,
        any_version.base,
    )
    assert (made.version, made.image) == (source.version, any_version.base)
    there = dsn_of(made)
    assert {question: rows(there, question) for question in questions} == answers
    assert value(there, "SELECT nextval('tickets')") >= 42
    assert roles(there) == {"keeper", "clerk"}
    assert databases(there) == databases(dsn)
    assert value(there.replace("/shop", "/third"), "SELECT n FROM there") == 3
    clerk = f"postgresql://clerk:of-the-clerk@{made.endpoint.host}:{made.endpoint.port}/third"
    assert value(clerk, "SELECT current_user") == "clerk"


def test_a_commit_just_before_the_call_is_in_it(create: Create, program: App) -> None:
    """A throwaway server answers a commit before it is written; the snapshot writes it."""
    source = create()
    dsn = dsn_of(source)
    assert value(dsn, "SHOW synchronous_commit") == "off"
    run(dsn, "CREATE TABLE t (n int)")
    names = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number in range(1, 7):
            connection.execute("INSERT INTO t VALUES (%s)", [number])
            names.append(program.snapshots.take(source.id).name)
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda name: branch(program, name), names))
    assert [value(dsn_of(one), "SELECT count(*) FROM t") for one in made] == [1, 2, 3, 4, 5, 6]


def test_an_open_transaction_survives_a_take_and_is_not_in_it(create: Create, program: App) -> None:
    source = create()
    run(dsn_of(source), "CREATE TABLE t (n int)")
    with psycopg.connect(dsn_of(source)) as connection:
        connection.execute("CREATE TEMPORARY TABLE mine AS SELECT 5 AS n")
        connection.execute("INSERT INTO t VALUES (1)")
        backend = connection.info.backend_pid
        snapshot = program.snapshots.take(source.id)
        made = branch(program, source.id)
        assert connection.execute("SELECT n FROM mine").fetchall() == [(5,)]
        connection.commit()
        assert connection.info.backend_pid == backend
    assert value(dsn_of(source), "SELECT count(*) FROM t") == 1
    assert value(dsn_of(made), "SELECT count(*) FROM t") == 0
    assert value(dsn_of(branch(program, snapshot.name)), "SELECT count(*) FROM t") == 0


def test_unlogged_tables_come_back_empty_as_after_any_crash(create: Create, program: App) -> None:
    """PostgreSQL manual, CREATE TABLE: they are truncated after an unclean shutdown, which a branch starts from."""
    source = create()
    run(dsn_of(source), "CREATE UNLOGGED TABLE cache AS SELECT 1 AS n", "CREATE TABLE kept AS SELECT 2 AS n")
    made = branch(program, source.id)
    assert value(dsn_of(made), "SELECT count(*) FROM cache") == 0
    assert value(dsn_of(made), "SELECT n FROM kept") == 2
    assert value(dsn_of(source), "SELECT count(*) FROM cache") == 1


@pytest.mark.parametrize(
    "database, username",
    [
        ('it\'s; "a" $(shop)', "the `keeper`'s $HOME"),
        ("a=b\nline\\break", " --help\t-U x %s {0} :name ? "),
        ("template1", "é" * 31 + "y"),
    ],
)
def test_names_of_any_spelling_travel_along(
    create: Create, program: App, database: str, username: str
) -> None:
    source = create(database=database, username=username)
    made = branch(program, source.id)
    assert rows(dsn_of(made), "SELECT current_database(), current_user") == [(database, username)]
    snapshot = program.snapshots.take(made.id)
    restored = program.snapshots.restore(source.id, snapshot.name)
    assert rows(dsn_of(restored), "SELECT current_database(), current_user") == [(database, username)]


def test_a_cluster_without_the_database_postgres_can_be_branched(create: Create, program: App) -> None:
    source = create(database="shop")
    run(dsn_of(source), "DROP DATABASE postgres")
    made = branch(program, source.id)
    assert databases(dsn_of(made)) == {"shop", "template0", "template1"}


def test_what_a_cluster_logs_never_shows_the_password_of_a_branch(create: Create, program: App) -> None:
    """Settings of the source hold in the branch when its password is set."""
    source = create()
    run(
        dsn_of(source),
        "ALTER SYSTEM SET log_statement = 'all'",
        "ALTER SYSTEM SET log_min_duration_statement = 0",
        "ALTER SYSTEM SET default_transaction_read_only = on",
        "ALTER SYSTEM SET password_encryption = 'md5'",
    )
    made = branch(program, source.id)
    assert made.conninfo is not None
    assert value(dsn_of(made), "SHOW log_statement") == "all"
    seen = subprocess.run(["docker", "logs", made.container_id], capture_output=True, check=True, text=True)
    assert "ready to accept connections" in seen.stderr
    assert made.conninfo.password.reveal() not in seen.stdout + seen.stderr
    assert value(dsn_of(made), "SELECT left(rolpassword, 14) FROM pg_authid WHERE oid = 10").startswith(
        "SCRAM"
    )


# --- branches -------------------------------------------------------------------------------------------


def test_a_branch_has_a_password_of_its_own_and_leaves_its_source_alone(create: Create, program: App) -> None:
    source = create(database="shop")
    run(dsn_of(source), "CREATE TABLE t AS SELECT 1 AS n")
    made = branch(program, source.id, name="the branch", ttl="1h", memory="256m", labels={"suite": "a"})
    assert source.conninfo is not None
    assert made.conninfo is not None
    assert made.id != source.id
    assert made.endpoint.port != source.endpoint.port
    assert (made.name, made.labels, made.limits.memory) == ("the branch", {"suite": "a"}, 256 * 1024**2)
    assert made.conninfo.password != source.conninfo.password
    for here, other in ((source, made), (made, source)):
        assert here.conninfo is not None
        assert other.conninfo is not None
        wrong = replace(here.conninfo, password=other.conninfo.password)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong.dsn())
    run(dsn_of(made), "UPDATE t SET n = 2", "CREATE TABLE only_there ()", "CREATE ROLE only_there")
    assert value(dsn_of(source), "SELECT n FROM t") == 1
    assert rows(dsn_of(source), "SELECT 1 FROM pg_tables WHERE tablename = 'only_there'") == []
    assert roles(dsn_of(source)) == {"postgres"}


def test_a_branch_ends_without_its_source_and_takes_its_image_along(create: Create, program: App) -> None:
    source = create()
    made = branch(program, source.id)
    image = inspect(made.container_id)["Image"]
    program.manager.drop([source.id])
    assert value(dsn_of(made), "SELECT 1") == 1
    program.manager.drop([made.id])
    assert not exists(made.container_id)
    assert image not in docker("images", "--quiet", "--no-trunc").split()


def test_branches_of_branches_and_snapshots_of_those(create: Create, program: App) -> None:
    first = create(database="shop")
    run(dsn_of(first), "CREATE TABLE t (n int)", "INSERT INTO t VALUES (1)")
    second = branch(program, first.id)
    run(dsn_of(second), "INSERT INTO t VALUES (2)")
    third = branch(program, second.id)
    run(dsn_of(third), "INSERT INTO t VALUES (3)")
    snapshot = program.snapshots.take(third.id)
    run(dsn_of(third), "DELETE FROM t")
    fourth = branch(program, snapshot.name)
    run(dsn_of(fourth), "INSERT INTO t VALUES (4)")
    later = program.snapshots.take(fourth.id)
    fifth = branch(program, later.name)
    counts = [
        value(dsn_of(one), "SELECT coalesce(sum(n), 0) FROM t")
        for one in (first, second, third, fourth, fifth)
    ]
    assert counts == [1, 3, 0, 10, 10]


def test_ten_branches_of_one_snapshot_at_once(create: Create, program: App) -> None:
    source = create()
    run(dsn_of(source), "CREATE TABLE t AS SELECT generate_series(1, 10000) AS n")
    snapshot = program.snapshots.take(source.id)
    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(lambda _: branch(program, snapshot.name), range(10)))
    for number, one in enumerate(made):
        run(dsn_of(one), f"INSERT INTO t VALUES ({-number})")
    assert [value(dsn_of(one), "SELECT min(n) FROM t") for one in made] == [min(1, -n) for n in range(10)]
    assert len({one.endpoint.port for one in made}) == 10
    assert len({one.conninfo.password.reveal() for one in made if one.conninfo}) == 10
    (seen,) = (one for one in program.snapshots.list() if one.id == snapshot.id)
    assert set(seen.branches) == {one.id for one in made}
    program.manager.drop([one.id for one in made])


# --- restore --------------------------------------------------------------------------------------------


@pytest.mark.alone
def test_a_restore_ends_connections_and_the_same_dsn_works_within_a_second(
    create: Create, stage: DockerStage, program: App
) -> None:
    instance = create(name="the one", database="shop", labels={"suite": "a"}, ttl="2h")
    dsn = dsn_of(instance)
    run(dsn, "CREATE TABLE t AS SELECT 1 AS n")
    snapshot = program.snapshots.take(instance.id)
    run(dsn, "UPDATE t SET n = 2")
    with psycopg.connect(dsn, autocommit=True) as connection, knocking(dsn) as gaps:
        restored = program.snapshots.restore(instance.id, snapshot.name)
        with pytest.raises(psycopg.errors.AdminShutdown) as caught:
            connection.execute("SELECT n FROM t")
    assert caught.value.sqlstate == "57P01"
    assert value(dsn, "SELECT n FROM t") == 1
    assert restored.container_id != instance.container_id
    assert replace(restored, container_id="") == replace(instance, container_id="")
    assert build_app(stage).manager.get(instance.id).conninfo == restored.conninfo
    assert not exists(instance.container_id)
    print(f"without a server for {max(gaps):.2f} s")
    assert max(gaps) < PROMPTLY + BUSY_MACHINE


@contextmanager
def knocking(dsn: str) -> Iterator[list[float]]:
    """Try to log in again and again; yield the seconds between each two logins that worked."""
    gaps: list[float] = []
    ended = threading.Event()

    def knock() -> None:
        last = time.monotonic()
        while True:
            leaving = ended.is_set()
            try:
                assert value(dsn, "SELECT 1") == 1
            except psycopg.OperationalError:
                continue
            gaps.append(time.monotonic() - last)
            last = time.monotonic()
            if leaving:
                return

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        yield gaps
    finally:
        ended.set()
        thread.join()


def test_an_instance_can_be_put_back_again_and_again_and_to_its_branchs_state(
    create: Create, program: App
) -> None:
    instance = create()
    dsn = dsn_of(instance)
    run(dsn, "CREATE TABLE t AS SELECT 0 AS n")
    before = program.snapshots.take(instance.id)
    other = branch(program, before.name)
    run(dsn_of(other), "UPDATE t SET n = 99")
    after = program.snapshots.take(other.id)
    for number in range(1, 4):
        run(dsn, f"UPDATE t SET n = {number}")
        program.snapshots.restore(instance.id, before.name)
        assert value(dsn, "SELECT n FROM t") == 0
    program.snapshots.restore(instance.id, after.name)
    assert value(dsn, "SELECT n FROM t") == 99
    assert value(dsn_of(other), "SELECT n FROM t") == 99, "the branch lives on"


# --- while others write ---------------------------------------------------------------------------------


@pytest.fixture
def bank(create: Create) -> Instance:
    """A server with a thousand accounts."""
    instance = create(database="bank", memory="512m")
    run_in_bank(instance, "--initialize", "--quiet", "--scale=1")
    run(dsn_of(instance), "CREATE EXTENSION amcheck")
    return instance


def run_in_bank(instance: Instance, *options: str) -> str:
    """Run pgbench inside."""
    done = run_inside(instance.container_id, "pgbench", "--username=postgres", *options, "bank")
    assert done.returncode == 0, done.stderr
    return done.stdout


BALANCES = """
SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches),
       (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
"""
CHECK = """
SELECT count(*) FROM pg_class JOIN pg_index ON indexrelid = pg_class.oid JOIN pg_am ON pg_am.oid = relam,
    LATERAL bt_index_parent_check(pg_class.oid, true) WHERE amname = 'btree' AND relpersistence = 'p'
"""
CHECK_TABLES = """
SELECT count(*) FROM pg_class, LATERAL verify_heapam(pg_class.oid) AS broken WHERE relkind = 'r' AND relpersistence = 'p'
"""


def check_consistent(instance: Instance) -> int:
    """Judge that no transaction is there by half and no page is broken; return how many there were."""
    ((accounts, branches, tellers, history),) = rows(dsn_of(instance), BALANCES)
    assert accounts == branches == tellers == history
    assert value(dsn_of(instance), CHECK) > 100
    assert value(dsn_of(instance), CHECK_TABLES) == 0
    found = value(dsn_of(instance), "SELECT count(*) FROM pgbench_history")
    assert isinstance(found, int)
    return found


@contextmanager
def writing(instance: Instance) -> Iterator[subprocess.Popen[str]]:
    """Let four clients write inside until the block ends."""
    command = (
        "docker",
        "exec",
        instance.container_id,
        "pgbench",
        "--username=postgres",
        "--client=4",
        "--time=60",
    )
    with subprocess.Popen(
        [*command, "--no-vacuum", "bank"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        wait_for_writes(instance, more=100)
        yield child
        run_inside(instance.container_id, "pkill", "-INT", "pgbench")
        child.kill()


def wait_for_writes(instance: Instance, *, more: int) -> int:
    """Return the number of transactions when there are so many more than now."""
    count = "SELECT count(*) FROM pgbench_history"
    with psycopg.connect(dsn_of(instance), autocommit=True) as connection:
        found = start = int(connection.execute(count).fetchall()[0][0])
        while found < start + more:
            found = int(connection.execute(count).fetchall()[0][0])
    return found


def test_snapshots_and_branches_of_a_busy_server_are_consistent(bank: Instance, program: App) -> None:
    with writing(bank) as writers:
        before = wait_for_writes(bank, more=1)
        snapshot = program.snapshots.take(bank.id)
        direct = branch(program, bank.id)
        wait_for_writes(bank, more=100)
        assert writers.poll() is None, "nobody was disconnected"
        later = branch(program, bank.id)
    counts = [check_consistent(one) for one in (branch(program, snapshot.name), direct, later, bank)]
    print(f"{before} transactions before the snapshot, then {counts}")
    assert before <= counts[0] <= counts[1] < counts[2] <= counts[3]


def test_a_busy_server_is_put_back_to_a_consistent_state(bank: Instance, program: App) -> None:
    with writing(bank):
        snapshot = program.snapshots.take(bank.id)
        wait_for_writes(bank, more=50)
        restored = program.snapshots.restore(bank.id, snapshot.name)
    found = check_consistent(restored)
    with writing(restored):
        wait_for_writes(restored, more=50)
    assert check_consistent(restored) >= found + 50


# --- long chains ----------------------------------------------------------------------------------------


def test_a_chain_of_branches_never_grows_beyond_what_the_engine_takes(
    stage: DockerStage, tmp_path: Path
) -> None:
    """With a low ceiling; what stands at it is carried onto the base image again, with all that it holds."""
    plain = len(inspect(f"postgres:{stage.version}")["RootFS"]["Layers"])
    ceiling = plain + 4
    with closing(OwnWorld(stage, tmp_path / "disk", max_layers=ceiling)) as own:
        app = own.app
        current = app.manager.create(build_spec(app.defaults, database="shop", username="keeper"))
        run(
            dsn_of(current),
            "CREATE TABLE t (n int PRIMARY KEY)",
            "ALTER SYSTEM SET work_mem = '11MB'",
            "CREATE ROLE clerk",
        )
        layers = []
        for number in range(8):
            run(dsn_of(current), f"INSERT INTO t VALUES ({number})")
            snapshot = app.snapshots.take(current.id)
            current = branch(app, snapshot.name)
            layers.append(len(inspect(inspect(current.container_id)["Image"])["RootFS"]["Layers"]))
            found = [n for (n,) in rows(dsn_of(current), "SELECT n FROM t ORDER BY n")]
            assert found == list(range(number + 1))
            assert value(dsn_of(current), "SHOW work_mem") == "11MB"
            assert roles(dsn_of(current)) == {"keeper", "clerk"}
    print(f"the official image has {plain} layers, the branches {layers}")
    assert max(layers) <= ceiling
    assert layers.count(min(layers)) >= 2, "it was carried at least twice"


def test_a_cluster_that_is_carried_is_the_same_server(stage: DockerStage, tmp_path: Path) -> None:
    with closing(OwnWorld(stage, tmp_path / "disk", max_layers=1)) as own:
        app = own.app
        source = app.manager.create(build_spec(app.defaults))
        run(dsn_of(source), "CREATE TABLE t AS SELECT generate_series(1, 1000) AS n")
        with psycopg.connect(dsn_of(source)) as connection:
            made = branch(app, source.id)
            assert connection.execute("SELECT count(*) FROM t").fetchall() == [(1000,)]
        assert rows(dsn_of(made), SETTINGS) == rows(dsn_of(source), SETTINGS)
        assert value(dsn_of(made), "SELECT count(*) FROM t") == 1000
        assert inspect(made.container_id)["Config"]["User"] == "postgres"
        restored = app.snapshots.restore(source.id, app.snapshots.take(made.id).name)
        assert value(dsn_of(restored), "SELECT count(*) FROM t") == 1000
        assert not [one for one in own.runtime.list() if "prepare" in one.name], "no helper is left"


SETTINGS = """
SELECT name, setting FROM pg_settings WHERE source <> 'default' AND name <> 'application_name' ORDER BY name
"""


# --- what cannot be frozen ------------------------------------------------------------------------------


def test_a_paused_or_dead_server_is_no_source_and_nothing_is_left(create: Create, program: App) -> None:
    paused, dead = create(), create()
    snapshot = program.snapshots.take(paused.id)
    docker("pause", paused.container_id)
    run_inside(
        dead.container_id, "sh", "-c", "kill -9 $(head -n 1 /var/lib/dev-postgres-mcp/data/postmaster.pid)"
    )
    run_inside(dead.container_id, "sh", "-c", "until [ -e /var/lib/dev-postgres-mcp/state/exit ]; do :; done")
    before = {one.id for one in program.snapshots.list()}
    images = set(
        docker("images", "--quiet", "--no-trunc", "--filter", f"label=dev-postgres-mcp.source={dead.id}")
    )
    for source in (paused, dead):
        for refused in (
            lambda one=source: program.snapshots.take(one.id),
            lambda one=source: branch(program, one.id),
        ):
            with pytest.raises(ServerNotReady, match=f"{source.id} has no running server") as caught:
                refused()
            assert caught.value.hint
    with pytest.raises(ServerNotReady, match=f"{paused.id} is paused"):
        program.snapshots.restore(paused.id, snapshot.name)
    assert {one.id for one in program.snapshots.list()} == before
    assert images == set()
    docker("unpause", paused.container_id)
    assert program.manager.get(paused.id).status is Status.READY
    for one in (paused, dead):
        assert program.snapshots.restore(one.id, snapshot.name).status is Status.READY
