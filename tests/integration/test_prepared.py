"""Prepared images and seeds: made once, no secret in them, and what comes from them is like any other server."""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from dev_postgres_mcp.errors import InitFailed, InvalidInput
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.instances.init_files import find_init_files
from dev_postgres_mcp.instances.specs import build_branch_spec
from dev_postgres_mcp.model import Secret
from tests.helpers.stages import build_app, owned, patience, run_together
from tests.integration.creators import create_in_processes
from tests.integration.own import OwnWorld
from tests.integration.queries import databases, dsn_of, roles, rows, value
from tests.integration.shell import docker, inspect, logs, run_inside
from tests.integration.test_second_opinion import QUESTIONS, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dev_postgres_mcp.model import Instance
    from tests.helpers.stages import DockerStage
    from tests.integration.conftest import Create

pytestmark = pytest.mark.docker

PGDATA = "/var/lib/dev-postgres-mcp/data"


@pytest.fixture
def own(stage: DockerStage, tmp_path: Path) -> Iterator[OwnWorld]:
    """A base image that nobody has prepared yet."""
    world = OwnWorld(stage, tmp_path / "disk")
    yield world
    world.close()


TOOLS = "set -e; PATH=$(echo /usr/lib/postgresql/*/bin):$PATH; cd /tmp; "
BACKUP = "pg_basebackup -X {} -D backup -c fast -w -h 127.0.0.1 -U postgres; pg_verifybackup -q backup"
CRASH = f"""
kill -9 $(head -n 1 {PGDATA}/postmaster.pid)
until [ -e {PGDATA}/../state/exit ]; do sleep 0.1; done
rm -f {PGDATA}/postmaster.pid
pg_ctl -D {PGDATA} -o '-p 5499' -w -l log start >/dev/null
grep -q 'automatic recovery' log
psql -X -h 127.0.0.1 -p 5499 -U postgres -A -t -c 'SELECT count(*) FROM pg_class WHERE relname = $$kept$$'
"""


def test_what_is_cut_off_the_log_of_a_prepared_cluster_is_missed_by_nobody(create: Create) -> None:
    """The log's first segment is short until the server has written it full."""
    for method in ("fetch", "stream"):
        backup = run_inside(create().container_id, "sh", "-c", TOOLS + BACKUP.format(method))
        assert backup.returncode == 0, backup.stderr
    for statement in ("SELECT 1", "SET synchronous_commit = local; CREATE TABLE kept (i int)"):
        instance = create()
        with psycopg.connect(dsn_of(instance), autocommit=True) as connection:
            for part in statement.split("; "):
                connection.execute(part.encode())
        recovered = run_inside(instance.container_id, "sh", "-c", TOOLS + CRASH)
        assert recovered.stdout.strip() == str(int("kept" in statement)), recovered.stderr


# --- once for each base image ---------------------------------------------------------------------------


def test_processes_that_need_it_at_once_make_it_once(own: OwnWorld) -> None:
    settings = {"max_instances": 10_000, "max_total_memory": "1024t", "session": own.stage.session}
    created = create_in_processes(2, 2, settings=settings, asked={"image": own.base})
    assert [one.text for one in created if one.error] == []
    ((image_id, tags),) = own.images().items()
    assert len(tags) == 1, "it has its name"
    assert {inspect(one.container_id)["Image"] for one in created} == {image_id}
    assert [value(one.dsn, "SELECT 1") for one in created] == [1] * 4


def test_machines_that_need_it_at_once_all_get_their_servers(stage: DockerStage, own: OwnWorld) -> None:
    """Without a common lock; whoever comes too late goes on without, or leaves a nameless one to a sweep."""
    apps = [build_app(stage, client=client) for client in ("one", "another")]
    made: list[Instance] = []

    def create(number: int) -> None:
        app = apps[number]
        made.append(app.manager.create(build_spec(app.defaults, image=own.base)))

    assert run_together(lambda: create(0), lambda: create(1)) == []
    assert [value(dsn_of(instance), "SELECT 1") for instance in made] == [1, 1]
    assert len([tags for tags in own.images().values() if tags]) <= 1
    third = own.app.manager.create(build_spec(own.app.defaults))
    ((image_id, _),) = ((one, tags) for one, tags in own.images().items() if tags)
    assert inspect(third.container_id)["Image"] == image_id
    assert not [one for one in own.runtime.list() if one.name.startswith("mcp-postgres-prepare-")]


@pytest.mark.alone
def test_a_changed_base_image_is_prepared_anew_and_the_old_one_pruned(own: OwnWorld) -> None:
    app = own.app
    first = app.manager.create(build_spec(app.defaults))
    (old,) = app.images.list()
    assert (old.base, old.seed, old.stale, old.users) == (own.base, "", False, (first.id,))

    own.renew_base()
    second = app.manager.create(build_spec(app.defaults))

    stale, fresh = app.images.list()
    assert (stale.id, stale.stale) == (old.id, True)
    assert (fresh.base, fresh.stale, fresh.users) == (own.base, False, (second.id,))
    assert inspect(second.container_id)["Image"] == fresh.id
    assert app.images.prune() == (), "somebody stands on the stale one"
    app.manager.drop([first.id])
    assert [image.id for image in app.images.prune()] == [stale.id]
    assert [image.id for image in app.images.list()] == [fresh.id]


def test_an_image_that_was_removed_is_made_again(own: OwnWorld) -> None:
    first = own.app.images.prepare(own.base)
    again = own.app.images.prepare(own.base)
    assert again.id == first.id, "what is there is not made anew"
    docker("image", "rm", first.id)
    instance = own.app.manager.create(build_spec(own.app.defaults))
    (made,) = own.app.images.list()
    assert made.users == (instance.id,)


def test_where_it_cannot_be_made_the_instance_is_made_without(own: OwnWorld) -> None:
    """An init script that is baked into the image and needs a network, which preparing does not have."""
    steps: list[str] = []
    with image_with_script(own, "ls /sys/class/net/eth0\n") as image:
        instance = own.app.manager.create(
            build_spec(own.app.defaults, image=image), progress=lambda step: steps.append(step.message)
        )
        assert value(dsn_of(instance), "SELECT 1") == 1
        assert inspect(instance.container_id)["Image"] == inspect(image)["Id"]
        assert [step for step in steps if step.startswith("going on without a prepared image: ")]
        assert own.images() == {}
        assert [one.id for one in own.runtime.list()] == [instance.id], "no helper is left"
        own.app.manager.drop([instance.id])


@contextmanager
def image_with_script(own: OwnWorld, script: str) -> Iterator[str]:
    """Yield the name of an image like the base, with a script that it runs at its first start."""
    name = f"{own.base}-with-script"
    container = own.stage.add_foreign()
    own.stage.api.put_archive(container, "/docker-entrypoint-initdb.d", pack_script(script))
    docker("commit", container, name)
    own.runtime.bases.add(inspect(name)["Id"])
    try:
        yield name
    finally:
        docker("image", "rm", name)


def pack_script(script: str) -> bytes:
    """Return a tar with one script, to be sourced by the image's entrypoint."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("baked.sh")
        entry.size, entry.mode = len(script), 0o644
        archive.addfile(entry, io.BytesIO(script.encode()))
    return stream.getvalue()


# --- no secret ------------------------------------------------------------------------------------------


def test_nobody_can_log_in_to_what_is_in_a_prepared_image(own: OwnWorld) -> None:
    prepared = own.app.images.prepare(own.base)
    container = docker(
        *("run", "--detach", "--label", f"tests.session={own.stage.session}", "--entrypoint", "postgres"),
        *("--env", f"PGDATA={PGDATA}", "--user", "postgres", "--publish", "127.0.0.1::5432", prepared.id),
    )
    try:
        wait_for_socket(container)
        asked = "SELECT count(rolpassword), count(*) FILTER (WHERE rolcanlogin) FROM pg_authid"
        told = run_inside(container, "psql", "-X", "-A", "-t", "-U", "postgres", "-c", asked)
        assert told.stdout == "0|1\n", "one who may log in, and no password"
        address = docker("port", container, "5432/tcp").splitlines()[0]
        for password in ("", "postgres", "password"):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(f"postgresql://postgres:{password}@{address}/postgres")
        home = "/var/lib/dev-postgres-mcp"
        for directory, files in {"secret": "", "state": "id\n"}.items():
            assert run_inside(container, "ls", f"{home}/{directory}").stdout == files
        assert run_inside(container, "cat", f"{home}/state/id").stdout == "nobody\n"
    finally:
        docker("rm", "--force", "--volumes", container)


def wait_for_socket(container: str) -> None:
    """Return when the server in a container answers on its socket."""
    script = "until psql -X -U postgres -c 'SELECT 1'; do :; done"
    waited = run_inside(container, "timeout", "30", "sh", "-c", script)
    assert waited.returncode == 0, logs(container)


def test_no_image_holds_a_password(own: OwnWorld) -> None:
    """Every kind of image, of instances that came to be in every way, searched byte for byte."""
    app = own.app
    passwords = [f"s3cret-{number}-{own.stage.session}" for number in range(4)]
    cold = app.manager.create(build_spec(app.defaults, password=Secret(passwords[0])))
    app.pool.fill(1, deadline=patience())
    claimed = app.manager.create(build_spec(app.defaults, database="shop", password=Secret(passwords[1])))
    snapshots = [app.snapshots.take(instance.id) for instance in (cold, claimed)]
    branch = app.snapshots.branch(
        snapshots[1].name, build_branch_spec(app.defaults, password=Secret(passwords[2]))
    )
    copy = app.snapshots.branch(branch.id, build_branch_spec(app.defaults, password=Secret(passwords[3])))
    images = own.images()
    assert len(images) == 4, "prepared, two snapshots, and what the branch of an instance stands on"
    made = (cold, claimed, branch, copy)
    assert [instance.conninfo.password.reveal() for instance in made if instance.conninfo] == passwords
    assert [value(dsn_of(instance), "SELECT 1") for instance in made] == [1] * 4

    for image in images:
        shown = docker("inspect", image) + docker("history", "--no-trunc", image)
        assert [password for password in passwords if password in shown] == []
    assert find_in_layers(list(images), [password.encode() for password in passwords]) == set()
    assert find_in_layers(list(images), [b"postmaster.opts"]) == {b"postmaster.opts"}, "a search that finds"


def find_in_layers(images: list[str], words: list[bytes]) -> set[bytes]:
    """Return which of the words stand anywhere in the layers and the configuration of images."""
    found: set[bytes] = set()
    longest = max(map(len, words))
    with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saving:
        assert saving.stdout is not None
        end = b""
        while chunk := saving.stdout.read(4 * 1024**2):
            text = end + chunk
            found |= {word for word in words if word in text}
            end = text[-longest:]
    assert saving.returncode == 0
    return found


# --- seeds ----------------------------------------------------------------------------------------------


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """What fills a shop."""
    folder = tmp_path / "init"
    folder.mkdir()
    (folder / "10-items.sql").write_text(
        "CREATE TABLE items AS SELECT n, md5(n::text) AS name FROM generate_series(1, 300000) n;\n"
        "CREATE ROLE clerk; GRANT SELECT ON items TO clerk;\n"
    )
    (folder / "20-more.sh").write_text('psql -c "CREATE DATABASE stock"\n')
    return folder


@pytest.mark.alone
def test_a_seed_is_there_in_every_instance_from_it_without_its_scripts_being_run(
    own: OwnWorld, scripts: Path
) -> None:
    app = own.app
    started = time.monotonic()
    seed = app.images.prepare(own.base, seed="shop", init=find_init_files(scripts))
    once = time.monotonic() - started
    assert (seed.seed, seed.base, seed.stale, seed.users) == ("shop", own.base, False, ())

    seconds = []
    made = []
    asked: tuple[dict[str, Any], ...] = ({}, {"database": "x"}, {"database": "a b", "username": "keeper"})
    for names in asked:
        started = time.monotonic()
        made.append(app.manager.create(build_spec(app.defaults, seed="shop", **names)))
        seconds.append(time.monotonic() - started)
    for instance in made:
        dsn = dsn_of(instance)
        assert value(dsn, "SELECT count(*) FROM items") == 300000
        assert value(dsn, "SELECT has_table_privilege('clerk', 'items', 'SELECT')") is True
        assert "stock" in databases(dsn)
        assert inspect(instance.container_id)["Image"] == seed.id
        assert "/docker-entrypoint-initdb.d/" not in logs(instance.container_id)
    assert roles(dsn_of(made[2])) == {"keeper", "clerk"}
    assert rows(dsn_of(made[2]), "SELECT tableowner FROM pg_tables WHERE tablename = 'items'") == [
        ("keeper",)
    ]
    print(f"the seed took {once:.2f} s, instances from it {[round(each, 2) for each in seconds]} s")
    assert min(seconds) < once / 2


@pytest.mark.alone
def test_a_seed_is_made_anew_each_time_it_is_asked_for(own: OwnWorld, tmp_path: Path) -> None:
    app = own.app
    init = tmp_path / "one.sql"
    for number in (1, 2):
        init.write_text(f"CREATE TABLE version AS SELECT {number} AS n;\n")
        app.images.prepare(own.base, seed="shop", init=find_init_files(init))
    instance = app.manager.create(build_spec(app.defaults, seed="shop"))
    assert value(dsn_of(instance), "SELECT n FROM version") == 2
    assert [(image.seed, image.stale) for image in app.images.list()] == [("shop", True), ("shop", False)]


def test_a_seed_whose_script_fails_says_why_and_leaves_nothing(own: OwnWorld, tmp_path: Path) -> None:
    init = tmp_path / "bad.sql"
    init.write_text("SELECT * FROM nowhere;\n")
    with pytest.raises(InitFailed) as caught:
        own.app.images.prepare(own.base, seed="shop", init=find_init_files(init))
    assert 'relation "nowhere" does not exist' in caught.value.explain()
    assert own.runtime.list() == ()
    assert own.images() == {}
    with pytest.raises(InvalidInput, match="no seed 'shop'"):
        own.app.manager.create(build_spec(own.app.defaults, seed="shop"))


# --- one server like the other --------------------------------------------------------------------------

WAYS = ("plain", "prepared", "claimed", "branch", "branch of claimed")
MORE_QUESTIONS = {
    **QUESTIONS,
    "comments": "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database ORDER BY datname",
    "owner of the cluster": "SELECT rolname FROM pg_roles WHERE oid = 10",
    "memberships": "SELECT roleid::regrole::text, member::regrole::text FROM pg_auth_members ORDER BY 1, 2",
    "default privileges": "SELECT count(*) FROM pg_default_acl",
    "files of settings": (
        "SELECT regexp_replace(sourcefile, '.*/', ''), name, setting FROM pg_file_settings ORDER BY seqno"
    ),
    "sources of settings": (
        "SELECT name, source FROM pg_settings WHERE source NOT IN ('default', 'client') ORDER BY name"
    ),
}


@pytest.fixture(scope="module")
def ways(stage: DockerStage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """DSNs of servers of one spec that came to be in different ways."""
    world = OwnWorld(stage, tmp_path_factory.mktemp("disk"))
    app = world.app
    nothing = tmp_path_factory.mktemp("init") / "nothing.sql"
    nothing.write_text("SELECT 1;\n")
    spec = build_spec(app.defaults, database="shop", username="keeper")
    plain = app.manager.create(replace(spec, init=find_init_files(nothing)))
    prepared = app.manager.create(spec)
    app.pool.fill(1, deadline=patience())
    (spare,) = (one for one in world.runtime.list() if one.name.startswith("mcp-postgres-spare-"))
    claimed = app.manager.create(spec)
    assert claimed.id == spare.id
    made = [plain, prepared, claimed]
    made += [
        app.snapshots.branch(source.id, build_branch_spec(app.defaults)) for source in (prepared, claimed)
    ]
    yield {way: dsn_of(instance) for way, instance in zip(WAYS, made, strict=True)}
    world.close()


@pytest.mark.parametrize("question", MORE_QUESTIONS)
@pytest.mark.parametrize("way", WAYS[1:])
def test_every_way_gives_the_same_answer(ways: dict[str, str], way: str, question: str) -> None:
    answer = rows(ways[way], MORE_QUESTIONS[question])
    assert answer == rows(ways["plain"], MORE_QUESTIONS[question])


@pytest.mark.parametrize("way", WAYS[1:])
def test_every_way_gives_the_same_settings(ways: dict[str, str], way: str) -> None:
    assert settings_of(ways[way]) == settings_of(ways["plain"])


def test_the_names_of_the_bootstrap_are_gone(ways: dict[str, str]) -> None:
    for dsn in ways.values():
        assert roles(dsn) == {"keeper"}
        assert databases(dsn) == {"postgres", "template0", "template1", "shop"}
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(dsn.replace("/shop", "/nowhere"))


def test_a_spare_is_no_instance_until_it_is_claimed(own: OwnWorld) -> None:
    app = own.app
    app.pool.fill(1, deadline=patience())
    (spare,) = app.pool.status().spares
    assert app.manager.list().instances == ()
    assert [one.id for one in owned(own.stage, own.runtime)] == [spare.id]
    password = Secret(" outer spaces, 'quotes' and %s \\n ")
    created = app.manager.create(
        build_spec(app.defaults, name="mine", ttl="1h", labels={"suite": "a"}, password=password)
    )
    assert created.conninfo is not None
    assert created.conninfo.password == password
    assert (created.id, created.name, created.labels) == (spare.id, "mine", {"suite": "a"})
    details = inspect(created.container_id)
    assert details["Name"] == f"/mcp-postgres-{created.id}"
    assert details["Config"]["Labels"]["dev-postgres-mcp.maker"] == own.stage.session
    assert build_app(own.stage).manager.get(created.id).conninfo == created.conninfo
    assert app.pool.status().spares == ()


def test_a_spare_that_goes_at_the_last_moment_costs_nothing_but_time(own: OwnWorld) -> None:
    app = own.app
    app.pool.fill(1, deadline=patience())
    before = own.runtime.list()
    (lost,) = app.pool.drain()
    own.runtime.outdated = before
    created = app.manager.create(build_spec(app.defaults))
    assert created.id != lost
    assert value(dsn_of(created), "SELECT 1") == 1


def test_a_spare_that_is_claimed_at_the_last_moment_is_left_to_its_new_owner(own: OwnWorld) -> None:
    app = own.app
    app.pool.fill(1, deadline=patience())
    before = own.runtime.list()
    first = app.manager.create(build_spec(app.defaults))
    own.runtime.outdated = before
    second = app.manager.create(build_spec(app.defaults))
    assert first.id != second.id
    assert [value(dsn_of(instance), "SELECT 1") for instance in (first, second)] == [1, 1]
