"""The switch where it belongs: as PID 1 of real instances, under dash and under busybox."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import docker.errors
import psycopg
import pytest

from dev_postgres_mcp.instances.specs import build_branch_spec
from dev_postgres_mcp.model import Secret, Status
from dev_postgres_mcp.parsing import new_id
from dev_postgres_mcp.runtimes.base import Freeze, Kind
from dev_postgres_mcp.runtimes.docker.files import HOME, PGDATA
from tests.helpers.stages import build_launch, patience, wait_until
from tests.integration.queries import dsn_of, value
from tests.switch.child import busy_wait

if TYPE_CHECKING:
    from pathlib import Path

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance
    from tests.helpers.stages import DockerStage
    from tests.switch.conftest import Create

pytestmark = pytest.mark.docker

IMAGES = ("postgres:17", "postgres:17-alpine")
"""/bin/sh is dash in the one and busybox in the other."""
LATE = 2.0
"""Seconds after its end within which an instance is gone; the engine removes it in about half of one."""
QUICK_STOP = 3.0
"""Seconds that `docker stop` takes at most; a switch that has missed it is killed after ten."""
PROGRAMS = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"
ENDS = {
    0: f"pg_ctl stop -m fast -D {PGDATA}",
    137: f"kill -9 $(head -n 1 {PGDATA}/postmaster.pid)",
    134: f"kill -ABRT $(head -n 1 {PGDATA}/postmaster.pid)",
}
"""What is done to a server inside, by the exit code that it has then."""
STATES = "cat /proc/[0-9]*/stat 2>/dev/null | sed 's/.*) //' | cut -d ' ' -f 1 | tr -d '\\n'"


@pytest.fixture(params=IMAGES)
def image(request: pytest.FixtureRequest) -> str:
    """Each of the images."""
    return str(request.param)


def exists(stage: DockerStage, instance: Instance) -> bool:
    try:
        stage.api.inspect_container(instance.container_id)
    except docker.errors.NotFound:
        return False
    return True


def wait_gone(stage: DockerStage, instance: Instance, *, seconds: float) -> None:
    wait_until(lambda: not exists(stage, instance), seconds=seconds)


def has_ended(program: App, instance: Instance) -> bool:
    return program.manager.get(instance.id).status is Status.EXITED


def run(stage: DockerStage, instance: Instance, script: str) -> str:
    return stage.run(instance.container_id, script)


@pytest.mark.alone
def test_it_is_gone_within_two_seconds_of_its_deadline(stage: DockerStage, create: Create) -> None:
    instances = [create(image=image, ttl="4s") for image in IMAGES]
    for instance in instances:
        end = instance.lease.expires_at
        assert end is not None
        wait_gone(stage, instance, seconds=(end - datetime.now(UTC)).total_seconds() + LATE)
        assert datetime.now(UTC) >= end


@pytest.mark.alone
def test_an_extended_instance_lives_on_and_a_shortened_one_ends(
    stage: DockerStage, program: App, create: Create
) -> None:
    instance = create(ttl="2s")
    program.manager.extend(instance.id, ttl="1h")
    end = instance.lease.expires_at
    assert end is not None
    wait_until(lambda: datetime.now(UTC) > end + timedelta(seconds=1))
    assert value(dsn_of(instance), "SELECT 1") == 1
    program.manager.extend(instance.id, ttl="1s")
    wait_gone(stage, instance, seconds=2 + LATE)


@pytest.mark.alone
def test_a_client_holds_idle_expiry_off_and_the_last_one_lets_it_begin(
    stage: DockerStage, create: Create
) -> None:
    instance = create(idle_timeout="1s")
    with psycopg.connect(dsn_of(instance)) as connection:
        connected = time.monotonic()
        wait_until(lambda: time.monotonic() - connected > 3)
        assert connection.execute("SELECT 1").fetchone() == (1,)
    closed = time.monotonic()
    wait_gone(stage, instance, seconds=3 + LATE)
    assert time.monotonic() - closed >= 1


@pytest.mark.alone
def test_docker_stop_ends_it_at_once_with_clients_connected(
    stage: DockerStage, create: Create, image: str
) -> None:
    instance = create(image=image)
    with psycopg.connect(dsn_of(instance)) as connection:
        began = time.monotonic()
        stage.api.stop(instance.container_id, timeout=10)
        assert time.monotonic() - began < QUICK_STOP
        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.execute("SELECT 1")
    wait_gone(stage, instance, seconds=LATE)


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["prepared", "fresh"])
def test_docker_stop_right_after_the_start_ends_it_too(
    stage: DockerStage, program: App, image: str, kind: str
) -> None:
    runtime = stage.runtime()
    place = runtime._place(patience())
    launch = replace(build_launch(stage, runtime, image=image), maker=stage.session)
    if kind == "prepared":
        prepared = runtime.find_prepared(launch.image) or runtime.prepare(
            launch.image, progress=lambda _: None, deadline=patience()
        )
        launch = replace(launch, image=prepared)
    for moment in (0.01, 0.1):
        launch = replace(launch, record=replace(launch.record, id=new_id()))
        name = launch.role.name_for(launch.record.id)
        with runtime._launcher.making(launch, place, deadline=patience()):
            stage.api.start(name)
            busy_wait(moment)
            began = time.monotonic()
            stage.api.stop(name, timeout=10)
            assert time.monotonic() - began < QUICK_STOP, moment


def test_no_zombie_is_left_of_backends_and_orphans(stage: DockerStage, create: Create, image: str) -> None:
    instance = create(image=image)
    for _ in range(30):
        with psycopg.connect(dsn_of(instance)) as connection:
            connection.execute("SELECT 1")
    # Children of programs that have ended: theirs is the switch now.
    run(stage, instance, "for _ in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.2 &) ; done; (sleep 0.3 & exit) &")
    wait_until(lambda: "sleep 0." not in run(stage, instance, PROGRAMS), seconds=5)
    wait_until(lambda: "Z" not in run(stage, instance, STATES), seconds=1)


def test_kill_9_of_all_processes_inside_leaves_the_evidence(
    stage: DockerStage, program: App, create: Create, image: str
) -> None:
    instance = create(image=image, ttl="1h")
    with suppress(AssertionError):  # the shell that says so is not spared
        run(stage, instance, "kill -9 -1")
    wait_until(partial(has_ended, program, instance), seconds=5)
    dead = program.manager.get(instance.id)
    assert dead.evidence is not None
    assert (dead.evidence.exit_code, dead.evidence.oom_killed) == (137, False)
    assert dead.lease == instance.lease
    stage.api.stop(instance.container_id, timeout=10)
    wait_gone(stage, instance, seconds=LATE)


@pytest.mark.alone
def test_a_server_that_ends_inside_is_evidence_until_the_lease_ends(
    stage: DockerStage, program: App, create: Create
) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    ended = {}
    for code, script in ENDS.items():
        ended[code] = create(ttl="5s")
        run(stage, ended[code], script)
    for code, instance in ended.items():
        wait_until(partial(has_ended, program, instance), seconds=5)
        dead = program.manager.get(instance.id)
        assert dead.evidence is not None
        assert dead.evidence.exit_code == code
        assert dead.evidence.finished_at is not None
        assert before <= dead.evidence.finished_at <= datetime.now(UTC)
    for instance in ended.values():
        wait_gone(stage, instance, seconds=6 + LATE)
        assert instance.lease.expires_at is not None
        assert datetime.now(UTC) >= instance.lease.expires_at


@pytest.mark.parametrize("init", [False, True], ids=["prepared", "fresh"])
def test_a_restarted_container_keeps_record_lease_and_password(
    stage: DockerStage, program: App, create: Create, tmp_path: Path, init: bool
) -> None:
    script = tmp_path / "one.sql"
    script.write_text("CREATE TABLE one (n int);")
    instance = create(name="kept", ttl="1h", **({"init": script} if init else {}))
    stage.api.restart(instance.container_id, timeout=10)
    wait_until(lambda: program.manager.get(instance.id).status is Status.READY, seconds=10)
    again = program.manager.get(instance.id)
    assert (again.name, again.endpoint, again.lease) == ("kept", instance.endpoint, instance.lease)
    assert value(dsn_of(instance), "SELECT 1") == 1
    # Whoever has never seen it before reads all of it, too.
    stranger = stage.runtime(client="elsewhere")
    state = stranger.read_state(stranger.inspect(instance.container_id))
    assert state is not None
    assert state.record.conninfo(again.endpoint) == instance.conninfo
    held = f"find {HOME} -name 'inbox-*'; ls -A {HOME}/secret"
    assert run(stage, instance, held) == "password\n"
    assert program.manager.extend(instance.id, ttl="2h").lease != instance.lease


@pytest.mark.parametrize(
    "username, password",
    [
        (
            'o\'Brien "the" $(touch /tmp/x) `id`',
            "it's \"quoted\" \\ `id` $(touch /tmp/x) ${HOME} :'password' %s",
        ),
        ("-d a:b/c=d@e ☃", "  -c pässwörd ☃  "),
        ("lines\nbreak\n", "%s\\n\\t*!"),
    ],
)
def test_any_password_is_set_for_any_name_whatever_the_cluster_was_told_to_log_or_refuse(
    program: App, create: Create, username: str, password: str
) -> None:
    source = create(username=username)
    with psycopg.connect(dsn_of(source), autocommit=True) as connection:
        for setting in (
            "log_statement = 'all'",
            "default_transaction_read_only = on",
            "password_encryption = md5",
        ):
            connection.execute(f"ALTER SYSTEM SET {setting}".encode())
    spec = build_branch_spec(program.defaults, password=Secret(password))
    branch = program.snapshots.branch(source.id, spec)
    try:
        assert value(dsn_of(branch), "SELECT current_user::text") == username
        assert password not in program.runtime.logs(branch.container_id, tail=1000)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(dsn_of(branch), password="wrong")
    finally:
        program.manager.drop([branch.id])


def test_the_password_is_set_in_a_cluster_without_the_database_postgres(
    stage: DockerStage, program: App, create: Create
) -> None:
    source = create(database="shop")
    with psycopg.connect(dsn_of(source), autocommit=True) as connection:
        connection.execute("DROP DATABASE postgres")
        connection.execute("CHECKPOINT")
    frozen = program.runtime.freeze(
        program.manager.find(source.id),
        Freeze(
            kind=Kind.SNAPSHOT,
            key=new_id(),
            name=stage.session,
            expires_at=None,
            database="shop",
            username="postgres",
        ),
        deadline=patience(),
    )
    try:
        branch = program.snapshots.branch(frozen.key, build_branch_spec(program.defaults))
        assert value(dsn_of(branch), "SELECT current_database()::text") == "shop"
    finally:
        program.snapshots.delete(frozen.key, force=True)
