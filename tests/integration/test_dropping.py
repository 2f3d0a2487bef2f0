"""Dropping: what is dropped is gone with all it holds, what was gone is no error, strangers are never touched."""

from __future__ import annotations

import threading
import time
from statistics import median
from typing import TYPE_CHECKING

import psycopg
import pytest

from dev_postgres_mcp.errors import InstanceNotFound
from dev_postgres_mcp.model import Outcome
from dev_postgres_mcp.parsing import new_id
from tests.helpers.stages import DockerStage, build_app, run_together
from tests.integration.queries import dsn_of
from tests.integration.shell import LABEL, docker, exists, inspect

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App
    from tests.integration.conftest import Create

pytestmark = pytest.mark.docker


def test_several_are_dropped_at_once_with_one_outcome_each(create: Create, program: App) -> None:
    first, second = create(name="dropped by name"), create()
    gone = create()
    docker("rm", "--force", "--volumes", gone.container_id)
    drops = program.manager.drop(["dropped by name", second.id[:10], gone.id, "never was"])
    assert [(drop.ref, drop.outcome.value) for drop in drops] == [
        ("dropped by name", "dropped"),
        (second.id[:10], "dropped"),
        (gone.id, "already_gone"),
        ("never was", "already_gone"),
    ]
    assert drops[0].id == first.id
    assert not exists(first.container_id)
    assert not exists(second.container_id)


def test_a_drop_does_not_wait_for_clients(create: Create, program: App) -> None:
    """Median of three; a client that is connected and busy is cut off."""
    seconds = []
    for _ in range(3):
        instance = create()
        with psycopg.connect(dsn_of(instance)) as connection:
            connection.execute("CREATE TABLE t AS SELECT generate_series(1, 1000)")
            started = time.monotonic()
            (drop,) = program.manager.drop([instance.id])
            seconds.append(time.monotonic() - started)
            assert drop.outcome is Outcome.DROPPED
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        assert not exists(instance.container_id)
    print(f"drop: {median(seconds):.2f} s (each: {[round(each, 2) for each in seconds]})")
    assert median(seconds) < 3


def test_volumes_that_were_added_behind_our_back_go_with_the_container(
    stage: DockerStage, program: App
) -> None:
    """A container of ours with an anonymous volume, as another version of us might have made it."""
    instance_id = new_id()
    container = docker(
        *("create", "--name", f"mcp-postgres-{instance_id}", "--volume", "/somewhere"),
        *(part for key, text in labels(stage, instance_id).items() for part in ("--label", f"{key}={text}")),
        f"postgres:{stage.version}",
    )
    volumes = [mount["Name"] for mount in inspect(container)["Mounts"]]
    assert volumes
    (drop,) = program.manager.drop([instance_id])
    assert drop.outcome is Outcome.DROPPED
    left = docker("volume", "ls", "--quiet").split()
    assert not set(volumes) & set(left)


def labels(stage: DockerStage, instance_id: str) -> dict[str, str]:
    """Return labels as a container of ours carries them."""
    ours = {
        "id": instance_id,
        "port": "15432",
        "created-at": "2026-01-01T00:00:00+00:00",
        "ready-by": "2026-01-01T00:01:00+00:00",
        "version": "17",
        "image": "postgres:17",
        "memory": "1048576",
        "cpus": "1.0",
        "owner.session": stage.session,
    }
    return {LABEL + key: text for key, text in ours.items()}


@pytest.mark.parametrize("attempt", range(3))
def test_two_who_drop_at_once_both_end_well(create: Create, stage: DockerStage, attempt: int) -> None:
    instance = create()
    outcomes: list[Outcome] = []

    def drop() -> None:
        outcomes.extend(drop.outcome for drop in build_app(stage).manager.drop([instance.id]))

    assert run_together(drop, drop) == []
    assert sorted(outcomes) == [Outcome.ALREADY_GONE, Outcome.DROPPED]
    assert not exists(instance.container_id)


def test_a_container_that_vanishes_between_list_and_drop_is_already_gone(
    create: Create, program: App
) -> None:
    instance = create()
    (listed,) = (seen for seen in program.manager.list().instances if seen.id == instance.id)
    docker("rm", "--force", "--volumes", instance.container_id)
    (drop,) = program.manager.drop([listed.id])
    assert drop.outcome is Outcome.ALREADY_GONE
    assert program.runtime.remove(instance.container_id) is False
    with pytest.raises(InstanceNotFound):
        program.manager.get(instance.id)


def test_a_list_works_while_others_drop(create: Create, stage: DockerStage) -> None:
    made = [create() for _ in range(4)]
    dropper = build_app(stage).manager
    dropped = threading.Event()

    def list_often() -> None:
        """Each time as a new process would, which has to read every record."""
        while not dropped.is_set():
            build_app(stage).manager.list()

    def drop() -> None:
        try:
            dropper.drop([instance.id for instance in made])
        finally:
            dropped.set()

    assert run_together(list_often, list_often, drop) == []
    assert not any(exists(instance.container_id) for instance in made)


def test_a_container_of_our_name_without_our_label_is_not_ours(stage: DockerStage, program: App) -> None:
    foreign_id = new_id()
    container = stage.add_foreign(name=f"mcp-postgres-{foreign_id}")
    check_untouched(program, container, foreign_id, f"mcp-postgres-{foreign_id}")


def test_a_container_with_our_labels_under_another_name_is_not_ours(stage: DockerStage, program: App) -> None:
    """`docker run --label-file`, or a copy by hand: only name and label together make it ours."""
    foreign_id = new_id()
    marks = {key: text for key, text in labels(stage, foreign_id).items() if "owner" not in key}
    container = stage.add_foreign(name=f"copy-of-{foreign_id}", labels=marks)
    check_untouched(program, container, foreign_id, f"copy-of-{foreign_id}")


def check_untouched(program: App, container: str, *refs: str) -> None:
    """Nothing of ours shows, gets or drops the container, whatever it is called by."""
    assert container not in {seen.container_id for seen in program.manager.list().instances}
    for ref in (*refs, container, container[:12]):
        with pytest.raises(InstanceNotFound):
            program.manager.get(ref)
        with pytest.raises(InstanceNotFound):
            program.manager.health_check(ref)
        (drop,) = program.manager.drop([ref])
        assert drop.outcome is Outcome.ALREADY_GONE
    assert exists(container)
    docker("rm", "--volumes", container)


def test_a_copy_of_a_record_in_an_image_gives_nobody_the_password(
    create: Create, stage: DockerStage, program: App
) -> None:
    """A committed instance carries its record along: an instance made from that image has another id."""
    instance = create(database="shop")
    image = f"dev-postgres-mcp-tests/{new_id()}:1"
    docker("commit", instance.container_id, image)
    try:
        container_id = new_id()
        docker(
            *("create", "--name", f"mcp-postgres-{container_id}"),
            *(
                part
                for key, text in labels(stage, container_id).items()
                for part in ("--label", f"{key}={text}")
            ),
            image,
        )
        assert program.manager.get(container_id).conninfo is None
        program.manager.drop([container_id])
    finally:
        program.manager.drop([instance.id])
        docker("image", "rm", image)
