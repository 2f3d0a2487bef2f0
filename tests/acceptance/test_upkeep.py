"""What is kept beside instances - prepared images and seeds - and what is swept away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from dev_postgres_mcp.parsing import new_id
from dev_postgres_mcp.runtimes.docker.container import LABEL
from tests.acceptance.data import fruit
from tests.acceptance.wire import RawSession, text_of
from tests.helpers.stages import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.program import Program
    from tests.helpers.stages import DockerStage

pytestmark = [pytest.mark.wheel, pytest.mark.docker]

FORM = ("--format", "json")
SCHEMA = "CREATE TABLE fruit AS SELECT unnest(ARRAY['mango', 'apple']) AS name"


@pytest.fixture
def base(docker_stage: DockerStage) -> str:
    """A base image of the test's own; what is prepared from it goes with it."""
    return docker_stage.add_base()


@pytest.fixture
def owner(program: Program, base: str) -> Program:
    """The program of somebody whose default image that is."""
    return program.having(DEV_POSTGRES_MCP_IMAGE_REPOSITORY=base.rpartition(":")[0])


def prepared_from(program: Program, base: str) -> list[dict[str, Any]]:
    """Return the prepared images of a base as they are listed."""
    images = program.run("image", "list", *FORM).data["images"]
    return [image for image in images if image["base"] == base]


def test_an_image_is_prepared_once_and_listed_with_what_stands_on_it(owner: Program, base: str) -> None:
    assert prepared_from(owner, base) == []
    made = owner.run("image", "prepare", *FORM)
    (image,) = made.data["images"]
    assert (image["base"], image["version"], image["seed"], image["stale"]) == (base, "17", None, False)
    assert f"preparing {base} once" in made.stderr
    again = owner.run("image", "prepare", *FORM)
    assert again.data["images"] == [image]
    assert again.stderr == "", "it is there already"
    instance = owner.run("postgres", "create", "-q").stdout.strip()
    (listed,) = prepared_from(owner, base)
    assert listed["users"] == [instance]
    row = next(line for line in owner.run("image", "list").stdout.splitlines() if line.startswith(base))
    assert row.split()[-2:] == ["fresh", "1"]
    assert image["id"] in owner.run("image", "list", "-q").stdout.split()


def test_the_first_create_prepares_the_image_and_says_so(owner: Program, base: str) -> None:
    first = owner.run("postgres", "create", "-q", *FORM)
    assert first.data["status"] == "ready"
    assert len(prepared_from(owner, base)) == 1


def test_a_seed_is_made_from_scripts_and_instances_start_with_its_data(owner: Program, base: str) -> None:
    folder = owner.directory / "schema"
    folder.mkdir()
    (folder / "1.sql").write_text(SCHEMA, encoding="utf-8")
    owner.run("image", "prepare", "--seed", "orchard", "--init", "schema")
    (image,) = prepared_from(owner, base)
    assert image["seed"] == "orchard"
    made = owner.run("postgres", "create", "--seed", "orchard", "--database", "shop", *FORM).data
    assert made["database"] == "shop"
    assert fruit(made) == ["apple", "mango"]
    with RawSession(owner) as session:
        seeded = session.call("create_postgres_instance", seed="orchard")["structuredContent"]
        assert fruit(seeded) == ["apple", "mango"]
        assert seeded["password"] != made["password"]
        refused = session.call("create_postgres_instance", seed="desert")
        assert refused["isError"] is True
        assert f"there is no seed 'desert' for {base}" in text_of(refused)
        assert "hint: make it: dev-postgres-mcp image prepare --seed desert" in text_of(refused)
    absent = owner.run("postgres", "create", "--seed", "desert", code=2)
    assert f"there is no seed 'desert' for {base}" in absent.stderr


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("image", "prepare", "--seed", "orchard"), "a seed needs a name and init scripts"),
        (("image", "prepare", "--init", "schema.sql"), "a seed needs a name and init scripts"),
        (("image", "prepare", "--seed", "a b", "--init", "schema.sql"), "'a b' cannot be given"),
        (("postgres", "create", "--seed", "x", "--init", "schema.sql"), "both a seed and init scripts"),
        (("image", "prepare", "--version", "17", "--image", "postgres:17"), "both a version and an image"),
    ],
)
def test_what_cannot_be_prepared_is_refused(program: Program, arguments: tuple[str, ...], says: str) -> None:
    (program.directory / "schema.sql").write_text(SCHEMA, encoding="utf-8")
    done = program.run(*arguments, code=2)
    assert says in done.stderr
    assert "hint: " in done.stderr


def test_a_seed_whose_script_fails_is_no_seed(
    owner: Program, base: str, left: Callable[[], list[str]]
) -> None:
    (owner.directory / "bad.sql").write_text("SELECT no_such_function();", encoding="utf-8")
    done = owner.run("image", "prepare", "--seed", "orchard", "--init", "bad.sql", code=7)
    assert "no_such_function() does not exist" in done.stderr
    assert prepared_from(owner, base) == []
    assert left() == []


@pytest.mark.alone
def test_prune_removes_what_a_newer_base_has_made_stale(
    docker_stage: DockerStage, owner: Program, base: str
) -> None:
    owner.run("image", "prepare")
    used = owner.run("postgres", "create", "-q").stdout.strip()
    assert docker_stage.add_base() == base, "the name leads to another image now"
    (stale,) = prepared_from(owner, base)
    assert stale["stale"] is True
    owner.run("image", "prune")
    assert [image["id"] for image in prepared_from(owner, base)] == [stale["id"]], "an instance stands on it"
    owner.run("postgres", "drop", used)
    pruned = owner.run("image", "prune", *FORM).data["images"]
    assert stale["id"] in [image["id"] for image in pruned]
    assert prepared_from(owner, base) == []


def add_leftover(stage: DockerStage) -> str:
    """Add a container of ours that never started, as a killed creator leaves one; return its name."""
    instance_id, long_ago = new_id(), (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    labels = {
        "id": instance_id,
        "port": "1",
        "created-at": long_ago,
        "ready-by": long_ago,
        "version": "17",
        "image": "postgres:17",
        "memory": "0",
        "cpus": "0",
        "maker": stage.session,
    }
    name = f"mcp-postgres-{instance_id}"
    stage.add_foreign(name=name, labels={LABEL + key: value for key, value in labels.items()})
    return name


@pytest.mark.alone
def test_a_sweep_removes_what_is_left_over_and_nothing_that_lives(
    docker_stage: DockerStage, program: Program, instance: dict[str, Any], left: Callable[[], list[str]]
) -> None:
    living = f"mcp-postgres-{instance['id']}"
    branch = f"mcp-postgres-{program.run('postgres', 'branch', instance['id'], '-q').stdout.strip()}"
    leftover = add_leftover(docker_stage)
    looked = program.run("postgres", "sweep", "--dry-run")
    row = next(line for line in looked.stdout.splitlines() if leftover in line)
    assert row.startswith("container ")
    assert row.endswith("its server never started, or has ended")
    assert "would be removed" in looked.stderr
    assert sorted(left()) == sorted([living, branch, leftover])
    swept = program.run("postgres", "sweep", *FORM).data
    assert swept["dry_run"] is False
    assert leftover in [one["name"] for one in swept["leftovers"]]
    assert sorted(left()) == sorted([living, branch])
    assert program.run("postgres", "health-check", instance["id"], "-q").stdout == ""


@pytest.mark.alone
def test_a_snapshot_whose_time_is_over_is_swept(program: Program, instance: dict[str, Any]) -> None:
    taken = program.run("postgres", "snapshot", "take", instance["id"], "--ttl", "1s", *FORM).data
    name = taken["snapshots"][0]["name"]

    def is_over() -> bool:
        leftovers = program.run("postgres", "sweep", "--dry-run", *FORM).data["leftovers"]
        return {"kind": "snapshot image", "name": name, "reason": "its lease is over"} in leftovers

    wait_until(is_over)
    swept = program.run("postgres", "sweep", *FORM).data["leftovers"]
    assert name in [one["name"] for one in swept]
    assert name not in program.run("postgres", "snapshot", "list").stdout


@pytest.mark.alone
def test_any_command_sweeps_now_and_then_in_silence(
    docker_stage: DockerStage, program: Program, left: Callable[[], list[str]]
) -> None:
    first = add_leftover(docker_stage)
    done = program.run("version")
    assert left() == [first], "one that asks no engine anything sweeps nothing either"
    done = program.run("postgres", "list")
    assert first not in done.stdout + done.stderr
    assert left() == []
    second = add_leftover(docker_stage)
    program.run("postgres", "list")
    assert left() == [second], "not again within a minute"
