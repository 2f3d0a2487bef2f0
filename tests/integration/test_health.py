"""What `get` and `health_check` say of servers that live, are stopped in every way there is, or run dry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from dev_postgres_mcp.errors import InitFailed, InstanceNotFound, ServerNotReady
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.model import Outcome, Status
from tests.helpers.stages import MEGABYTE, DockerStage, build_app, wait_until
from tests.integration.queries import dsn_of, value
from tests.integration.shell import docker, exists, run_inside

if TYPE_CHECKING:
    from pathlib import Path

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Health, Instance
    from tests.integration.conftest import Create

pytestmark = pytest.mark.docker


class Look:
    """Looks at instances with a program that did not create them."""

    def __init__(self, stage: DockerStage) -> None:
        self._manager = build_app(stage).manager

    def get(self, instance: Instance) -> Instance:
        return self._manager.get(instance.id)

    def check(self, instance: Instance) -> Health:
        return self._manager.health_check(instance.id)

    def logs(self, instance: Instance) -> str:
        return self._manager.logs(instance.id, tail=1000)

    def status_in_list(self, instance: Instance) -> Status:
        (status,) = (seen.status for seen in self._manager.list().instances if seen.id == instance.id)
        return status


@pytest.fixture
def elsewhere(stage: DockerStage) -> Look:
    """The same engine as another process of ours sees it, without a memory of what was created."""
    return Look(stage)


def test_a_live_server_tells_plausible_numbers(shop: Instance, elsewhere: Look) -> None:
    health = elsewhere.check(shop)
    assert health.healthy
    assert health.hint == ""
    assert health.facts is not None
    assert 0 < health.facts.latency < 2
    assert health.facts.version == value(dsn_of(shop), "SELECT split_part(version(), ' ', 2)")
    assert 0 < health.facts.uptime < 3600
    assert 1 <= health.facts.connections <= 5
    assert health.facts.max_connections == int(value(dsn_of(shop), "SHOW max_connections"))
    assert MEGABYTE < health.facts.database_size < 50 * MEGABYTE
    assert health.usage is not None
    assert 5 * MEGABYTE < health.usage.memory < 200 * MEGABYTE
    assert health.usage.memory_limit == 512 * MEGABYTE
    again = elsewhere.get(shop)
    assert (again.status, again.conninfo, again.evidence) == (Status.READY, shop.conninfo, None)


def test_connections_in_use_are_counted(shop: Instance, elsewhere: Look) -> None:
    before = elsewhere.check(shop).facts
    with psycopg.connect(dsn_of(shop)), psycopg.connect(dsn_of(shop)):
        during = elsewhere.check(shop).facts
    assert before is not None
    assert during is not None
    assert during.connections >= 3 > before.connections


def test_a_paused_server_is_unhealthy_until_it_goes_on(create: Create, elsewhere: Look) -> None:
    instance = create()
    docker("pause", instance.container_id)
    paused = elsewhere.get(instance)
    assert paused.status is Status.UNHEALTHY
    assert paused.conninfo == instance.conninfo
    assert f"docker unpause mcp-postgres-{instance.id}" in paused.hint
    health = elsewhere.check(instance)
    assert not health.healthy
    assert health.hint == paused.hint
    assert elsewhere.status_in_list(instance) is Status.UNHEALTHY
    docker("unpause", instance.container_id)
    assert elsewhere.check(instance).healthy


POSTMASTER = "$(head -n 1 /var/lib/dev-postgres-mcp/data/postmaster.pid)"


@pytest.mark.parametrize(
    "end, exit_code, last_words",
    [
        ("pg_ctl stop --mode=fast --no-wait", 0, "database system is shut down"),
        (f"kill -QUIT {POSTMASTER}", 0, "immediate shutdown request"),
        (f"kill -9 {POSTMASTER}", 137, "ready to accept connections"),
        ("kill -9 -1", 137, "ready to accept connections"),
    ],
)
def test_a_server_that_ends_by_itself_leaves_exit_code_and_log(
    create: Create, elsewhere: Look, end: str, exit_code: int, last_words: str
) -> None:
    instance = create()
    run_inside(instance.container_id, "sh", "-c", end)
    dead = wait_exited(elsewhere, instance)
    assert dead.conninfo == instance.conninfo
    assert dead.lease == instance.lease
    assert dead.evidence is not None
    assert (dead.evidence.exit_code, dead.evidence.oom_killed) == (exit_code, False)
    assert last_words in dead.evidence.log_tail
    assert dead.evidence.finished_at is not None
    assert dead.evidence.finished_at >= instance.created_at.replace(microsecond=0)
    assert "drop it" in dead.hint
    health = elsewhere.check(instance)
    assert not health.healthy
    assert health.hint == dead.hint
    assert health.instance.evidence == dead.evidence
    assert elsewhere.status_in_list(instance) is Status.EXITED


def wait_exited(elsewhere: Look, instance: Instance) -> Instance:
    """Ask until the server's end is noted."""
    wait_until(lambda: elsewhere.get(instance).status is Status.EXITED)
    return elsewhere.get(instance)


def test_a_dead_server_cannot_be_extended_and_goes_when_its_lease_ends(
    create: Create, program: App, elsewhere: Look
) -> None:
    instance = create(ttl="12s")
    run_inside(instance.container_id, "sh", "-c", f"kill -9 {POSTMASTER}")
    dead = wait_exited(elsewhere, instance)
    with pytest.raises(ServerNotReady, match="cannot be extended"):
        program.manager.extend(instance.id, ttl="1h")
    assert dead.lease.expires_at is not None
    docker("wait", instance.container_id, check=False)
    assert datetime.now(UTC) > dead.lease.expires_at - timedelta(seconds=1)
    wait_gone(elsewhere, instance)


@pytest.mark.parametrize(
    "end", [("stop",), ("kill",), ("exec", "kill", "-TERM", "1")], ids=["stop", "kill", "from inside"]
)
def test_a_container_that_somebody_ends_is_gone_with_all_it_held(
    create: Create, program: App, elsewhere: Look, end: tuple[str, ...]
) -> None:
    instance = create()
    verb, *rest = end
    docker(verb, instance.container_id, *rest)
    wait_gone(elsewhere, instance)
    assert instance.id not in {seen.id for seen in program.manager.list().instances}
    (drop,) = program.manager.drop([instance.id])
    assert drop.outcome is Outcome.ALREADY_GONE


def wait_gone(elsewhere: Look, instance: Instance) -> None:
    """Ask until nobody knows it any more: the engine removes it a moment after its end."""
    wait_until(lambda: not exists(instance.container_id))
    with pytest.raises(InstanceNotFound):
        elsewhere.get(instance)


def wait_healthy(elsewhere: Look, instance: Instance) -> None:
    """Ask until a login works."""
    wait_until(lambda: elsewhere.check(instance).healthy)


def test_a_server_lives_on_when_its_backends_are_killed(create: Create, elsewhere: Look) -> None:
    """The postmaster starts them anew; the switch, PID 1, the kernel protects from its own container."""
    instance = create()
    with psycopg.connect(dsn_of(instance)) as connection:
        backends = run_inside(
            instance.container_id, "sh", "-c", f"kill -9 1 $(cat /proc/{POSTMASTER}/task/*/children)"
        )
        assert backends.returncode == 0, backends.stderr
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    wait_healthy(elsewhere, instance)
    assert "all server processes terminated; reinitializing" in elsewhere.logs(instance)


def test_a_query_that_eats_all_memory_is_killed_and_the_server_lives_on(
    create: Create, elsewhere: Look
) -> None:
    instance = create(memory="96m")
    with (
        psycopg.connect(dsn_of(instance)) as connection,
        pytest.raises(psycopg.OperationalError),
    ):
        connection.execute("SELECT length(string_agg(md5(i::text), '')) FROM generate_series(1, 20000000) i")
    wait_healthy(elsewhere, instance)
    assert "was terminated by signal 9" in elsewhere.logs(instance)


def test_a_create_that_runs_out_of_memory_says_so(stage: DockerStage, tmp_path: Path) -> None:
    """A sourced init script runs in the image's own entrypoint."""
    init = tmp_path / "greedy.sh"
    init.write_text("text=$(head -c 300000000 /dev/zero | tr '\\0' x)\n")
    app = build_app(stage)
    with pytest.raises(InitFailed) as caught:
        app.manager.create(build_spec(app.defaults, memory="64m", init=init))
    assert caught.value.evidence is not None
    assert caught.value.evidence.oom_killed
    assert caught.value.evidence.exit_code == 137
    assert "out of memory (OOM)" in caught.value.explain()
