"""How an instance is written as a container and read back; what is not ours is not read."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import pytest

from dev_postgres_mcp.errors import ImageUnsuitable
from dev_postgres_mcp.model import InitFile, Lease, Limits, Owner
from dev_postgres_mcp.runtimes.base import Image, Kind, Launch, Role
from dev_postgres_mcp.runtimes.docker.container import (
    Place,
    create_arguments,
    prepare_arguments,
    read_details,
    read_summary,
)
from tests.helpers.stages import MEGABYTE, some_launch, some_record

if TYPE_CHECKING:
    from collections.abc import Iterator

PLACE = Place(bind_host="127.0.0.1", host="127.0.0.1", port=15500, network_id="net1")
ID = "abcdefghjkmn"


@contextmanager
def a_client() -> Iterator[Any]:
    """Yield the SDK's own client without an engine."""
    api = docker.APIClient(base_url="tcp://127.0.0.1:1", version="1.41")
    try:
        yield api
    finally:
        api.close()


def create(launch: Launch) -> dict[str, Any]:
    with a_client() as api:
        return create_arguments(api, launch, PLACE)


def written(**changes: Any) -> dict[str, Any]:
    """Return the arguments for a container."""
    return create(some_launch(**changes))


@pytest.mark.parametrize("version, small", [("11", False), ("12", True), ("17", True), ("", True)])
def test_a_server_is_told_to_keep_no_old_log_when_it_knows_how(version: str, small: bool) -> None:
    image = replace(some_launch().image, version=version)
    command = written(image=image)["command"]
    assert "fsync=off" in command
    assert ("wal_recycle=off" in command) == ("wal_init_zero=off" in command) == small


def listed(arguments: dict[str, Any], **changes: Any) -> dict[str, Any]:
    summary = {
        "Id": "f" * 64,
        "Names": [f"/{arguments['name']}"],
        "Labels": arguments["labels"],
        "State": "running",
        "ImageID": "sha256:abc",
    }
    return summary | changes


def inspected(arguments: dict[str, Any], **state: Any) -> dict[str, Any]:
    return {
        "Id": "f" * 64,
        "Name": f"/{arguments['name']}",
        "Image": "sha256:abc",
        "Config": {"Labels": arguments["labels"]},
        "State": {
            "Status": "running",
            "StartedAt": "2026-11-01T10:00:00.123456789Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
            "ExitCode": 0,
            "OOMKilled": False,
        }
        | state,
    }


def test_what_is_written_is_read_back() -> None:
    end = datetime(2026, 11, 8, 10, 0, 0, 500_000, tzinfo=UTC)
    launch = some_launch(
        maker="s",
        limits=Limits(memory=256 * MEGABYTE, cpus=0.25),
        hard_end=end,
        settings={"work_mem": "8 MB", "search_path": 'a, "b"'},
    )
    arguments = create(launch)
    for container in (read_summary(listed(arguments), "h"), read_details(inspected(arguments), "h")):
        assert container is not None
        assert container.id == launch.record.id
        assert (container.container_id, container.image_id) == ("f" * 64, "sha256:abc")
        assert (container.endpoint.host, container.endpoint.port) == ("h", 15500)
        assert (container.role, container.maker, container.hard_end) == (Role.INSTANCE, "s", end)
        assert container.limits == launch.limits
        assert container.settings == launch.settings
        assert (container.version, container.image) == ("17", "postgres:17")
        assert container.base_id == "sha256:base"
        assert container.running
        assert container.evidence is None
        assert container.name == arguments["name"] == f"mcp-postgres-{launch.record.id}"
        assert container.ready_by - container.created_at == timedelta(seconds=60)


@pytest.mark.parametrize(
    "role, name",
    [
        (Role.INSTANCE, "mcp-postgres-abcdefghjkmn"),
        (Role.SPARE, "mcp-postgres-spare-abcdefghjkmn"),
        (Role.WARMING, "mcp-postgres-warming-abcdefghjkmn"),
        (Role.RESTORING, "mcp-postgres-restore-abcdefghjkmn"),
        (Role.PREPARING, "mcp-postgres-prepare-abcdefghjkmn"),
    ],
)
def test_the_role_of_a_container_is_in_its_name(role: Role, name: str) -> None:
    arguments = written(record=some_record(id=ID), role=role)
    assert arguments["name"] == name
    container = read_summary(listed(arguments), "h")
    assert container is not None
    assert (container.role, container.name) == (role, name)


def test_a_claimed_spare_is_an_instance_by_its_new_name_alone() -> None:
    arguments = written(record=some_record(id=ID), role=Role.SPARE)
    container = read_summary(listed(arguments, Names=[f"/mcp-postgres-{ID}"]), "h")
    assert container is not None
    assert container.role is Role.INSTANCE


def test_what_one_may_want_to_change_is_in_no_label() -> None:
    """Labels never change: lease, names, owner and labels of users are in the record."""
    lease = Lease(expires_at=datetime(2031, 5, 6, tzinfo=UTC), idle_timeout=4242)
    record = some_record(
        name="my shop",
        database="sales",
        username="keeper",
        owner=Owner(cwd="/somewhere"),
        labels={"k": "mine"},
    )
    text = json.dumps(written(record=record, lease=lease)["labels"])
    for word in ("my shop", "sales", "keeper", "/somewhere", "mine", "2031", "4242"):
        assert word not in text


def test_a_container_from_a_snapshot_says_so_and_its_own_labels_win() -> None:
    arguments = written(record=some_record(id=ID))
    inherited = {
        "dev-postgres-mcp.kind": "snapshot",
        "dev-postgres-mcp.id": "",
        "dev-postgres-mcp.key": "k",
        "dev-postgres-mcp.user": "70:70",
        "dev-postgres-mcp.maker": "somebody",
    }
    labels = inherited | arguments["labels"]
    container = read_summary(listed(arguments, Labels=labels), "h")
    assert container is not None
    assert (container.id, container.image_kind, container.user) == (ID, Kind.SNAPSHOT, "70:70")
    assert container.maker == ""


def switch_of(arguments: dict[str, Any]) -> list[str]:
    switch: list[str] = arguments["entrypoint"]
    return switch


def test_the_dead_mans_switch_is_the_first_process_and_knows_the_ends() -> None:
    hard_end = datetime(2026, 11, 8, 10, 0, 0, 500_000, tzinfo=UTC)
    arguments = written(record=some_record(id=ID), hard_end=hard_end, patience=30.0)
    container = read_summary(listed(arguments), "h")
    assert container is not None
    shell, script, instance_id, end, birth_end, kind = switch_of(arguments)
    assert (shell, instance_id, kind) == ("/bin/sh", ID, "fresh")
    assert script.endswith("/switch.sh")
    assert int(end) == hard_end.timestamp() + 0.5
    assert 0 <= int(birth_end) - container.ready_by.timestamp() < 1
    assert switch_of(written())[3] == "0", "no such end"
    assert arguments["host_config"]["AutoRemove"] is True


def test_on_a_prepared_image_the_server_is_started_without_the_entrypoint() -> None:
    image = Image(ref="postgres:17", id="sha256:1", entrypoint=("docker-entrypoint.sh",))
    fresh, prepared = written(image=image), written(image=replace(image, prepared=True))
    assert (switch_of(fresh)[-1], fresh["command"][:2]) == ("fresh", ["docker-entrypoint.sh", "postgres"])
    assert (switch_of(prepared)[-1], prepared["command"][0]) == ("prepared", "postgres")


def test_an_image_is_prepared_without_a_network_and_under_a_name_of_its_own() -> None:
    base = Image(ref="postgres:17", id="sha256:1", version="17", entrypoint=("docker-entrypoint.sh",))
    ready_by = datetime(2026, 11, 8, 10, 0, 0, tzinfo=UTC)
    with a_client() as api:
        arguments = prepare_arguments(api, base, "k3y", ready_by, with_init=False)
    assert arguments["host_config"]["NetworkMode"] == "none"
    assert "PortBindings" not in arguments["host_config"]
    assert arguments["host_config"]["CapDrop"] == ["ALL"]
    container = read_summary(listed(arguments), "h")
    assert container is not None
    assert (container.role, container.id, container.name) == (
        Role.PREPARING,
        "k3y",
        "mcp-postgres-prepare-k3y",
    )
    assert container.ready_by == ready_by


def test_a_container_says_until_when_it_may_take_to_be_ready() -> None:
    container = read_summary(listed(written(patience=300.0)), "h")
    assert container is not None
    assert container.ready_by - container.created_at == timedelta(seconds=300)


@pytest.mark.parametrize(
    "changes",
    [
        {"Labels": None},
        {"Labels": {}},
        {"Labels": {"dev-postgres-mcp.id": ""}},
        {"Labels": {"com.example": "x"}},
        {"Names": None},
        {"Names": []},
        {"Names": ["/shop-db"]},
        {"Names": ["/mcp-postgres-other"]},
        {"Names": ["/mcp-postgres-spare-abcdefghjkmn"]},
        {"Names": ["/mcp-postgres-"]},
        {"Names": ["/mcp-postgres-kept-abcdefghjkmo"]},
    ],
)
def test_what_lacks_our_label_or_the_name_that_follows_from_it_is_not_ours(changes: dict[str, Any]) -> None:
    assert read_summary(listed(written(), **changes), "h") is None


@pytest.mark.parametrize("key", ["port", "created-at", "ready-by", "version", "image", "memory", "cpus"])
def test_a_container_whose_labels_are_incomplete_is_not_ours(key: str) -> None:
    arguments = written()
    del arguments["labels"][f"dev-postgres-mcp.{key}"]
    assert read_summary(listed(arguments), "h") is None
    assert read_details(inspected(arguments), "h") is None


@pytest.mark.parametrize("key", ["port", "created-at", "ready-by", "memory", "cpus", "kind", "settings"])
@pytest.mark.parametrize("value", ["x", "-", "1.2.3"])
def test_a_container_whose_labels_are_broken_is_not_ours(key: str, value: str) -> None:
    arguments = written()
    arguments["labels"][f"dev-postgres-mcp.{key}"] = value
    assert read_summary(listed(arguments), "h") is None


@pytest.mark.parametrize("key", ["port", "created-at", "ready-by", "memory", "cpus"])
def test_a_container_with_an_empty_label_is_not_ours(key: str) -> None:
    arguments = written()
    arguments["labels"][f"dev-postgres-mcp.{key}"] = ""
    assert read_summary(listed(arguments), "h") is None


@pytest.mark.parametrize("settings", ["7", "[1]", "null", '"x"'])
def test_settings_that_are_none_make_a_container_not_ours(settings: str) -> None:
    arguments = written()
    arguments["labels"]["dev-postgres-mcp.settings"] = settings
    assert read_summary(listed(arguments), "h") is None


@pytest.mark.parametrize("key", ["created-at", "ready-by", "hard-end"])
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_at_the_end_of_the_calendar_breaks_no_list(key: str, moment: str) -> None:
    arguments = written()
    arguments["labels"][f"dev-postgres-mcp.{key}"] = moment
    assert read_summary(listed(arguments), "h") is None


@pytest.mark.parametrize("key", ["created-at", "ready-by"])
def test_a_time_without_a_zone_does_not_break_the_list(key: str) -> None:
    """Somebody else's label of our name: either not ours, or a time that can be compared."""
    arguments = written()
    arguments["labels"][f"dev-postgres-mcp.{key}"] = "2026-11-01T10:00:00"
    container = read_summary(listed(arguments), "h")
    if container is not None:
        assert container.created_at.utcoffset() is not None
        assert container.ready_by.utcoffset() is not None


@pytest.mark.parametrize("state", ["exited", "dead"])
def test_a_dead_container_brings_evidence(state: str) -> None:
    container = read_details(
        inspected(
            written(),
            Status=state,
            ExitCode=137,
            OOMKilled=True,
            FinishedAt="2026-11-01T11:00:00.987654321+01:00",
        ),
        "h",
    )
    assert container is not None
    assert container.dead
    assert container.evidence is not None
    assert (container.evidence.exit_code, container.evidence.oom_killed) == (137, True)
    assert container.evidence.finished_at is not None
    assert container.evidence.finished_at.isoformat().startswith("2026-11-01T11:00:00.987654")


@pytest.mark.parametrize("state", ["created", "running", "paused"])
def test_a_container_that_has_not_ended_brings_none(state: str) -> None:
    container = read_details(inspected(written(), Status=state), "h")
    assert container is not None
    assert not container.dead
    assert container.running is (state == "running")
    assert container.evidence is None


def test_no_secret_is_in_anything_that_the_engine_shows() -> None:
    arguments = written()
    assert "s3cret-of-mine" not in json.dumps(arguments, default=str)
    assert arguments["environment"]["POSTGRES_PASSWORD_FILE"].endswith("/password")
    assert arguments["environment"]["POSTGRES_PASSWORD"] == "", "blanked, whatever the image has baked in"


def test_what_an_image_has_baked_in_cannot_overrule_us() -> None:
    arguments = written()
    environment = arguments["environment"]
    assert [environment[f"POSTGRES_{name}"] for name in ("PASSWORD", "USER_FILE", "DB_FILE")] == [""] * 3
    assert environment["POSTGRES_HOST_AUTH_METHOD"] == "scram-sha-256"
    assert (environment["POSTGRES_USER"], environment["POSTGRES_DB"]) == ("me", "db")


def test_the_users_proxy_settings_stay_out() -> None:
    assert written()["use_config_proxy"] is False


def test_the_network_is_named_by_id_only() -> None:
    arguments = written()
    assert arguments["networking_config"] == {"EndpointsConfig": {"net1": {"NetworkID": "net1"}}}
    assert arguments["host_config"]["NetworkMode"] == "net1"


def image_with(*volumes: str) -> Image:
    return Image(ref="odd:1", id="sha256:1", volumes=volumes)


INIT_FILES = (InitFile(path=Path("a.sql"), name="a.sql"),)


@pytest.mark.parametrize(
    "volume", ["/var/lib/dev-postgres-mcp", "/var/lib/dev-postgres-mcp/", "/var/lib", "/var", "/"]
)
def test_an_image_whose_volume_would_hide_our_files_is_unsuitable(volume: str) -> None:
    with pytest.raises(ImageUnsuitable, match=f"odd:1 declares a volume at {volume}"):
        written(image=image_with("/data", volume))


@pytest.mark.parametrize("volume", ["/docker-entrypoint-initdb.d", "/docker-entrypoint-initdb.d/"])
def test_a_volume_over_the_init_directory_hides_only_init_files(volume: str) -> None:
    written(image=image_with(volume))
    with pytest.raises(ImageUnsuitable, match="declares a volume at"):
        written(image=image_with(volume), init=INIT_FILES)


@pytest.mark.parametrize("volume", ["/var/lib/postgresql/data", "/var/lib/postgresql", "/var/library", "/v"])
def test_a_volume_beside_our_files_is_no_matter(volume: str) -> None:
    assert written(image=image_with(volume), init=INIT_FILES)["image"]


def test_a_container_is_confined() -> None:
    arguments = written()
    host = arguments["host_config"]
    assert arguments["user"] == "postgres"
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["PortBindings"] == {"5432/tcp": [{"HostIp": "127.0.0.1", "HostPort": "15500"}]}
    assert host["NetworkMode"] == "net1"
    assert (host["Memory"], host["MemorySwap"]) == (512 * MEGABYTE, 512 * MEGABYTE)
    assert host["NanoCpus"] == 1_000_000_000
    assert host["ShmSize"] > 64 * MEGABYTE
    assert host["PidsLimit"] >= 250
    assert host["Tmpfs"] == {
        "/var/lib/postgresql/data": "size=1m,mode=1777",
        "/var/lib/dev-postgres-mcp/secret": "size=1m,mode=1777",
    }
    assert "Binds" not in host


def test_settings_of_the_caller_win_over_ours() -> None:
    command = written(settings={"fsync": "on", "max_connections": "500", "work_mem": "4 MB"})["command"]
    assert command[0] == "postgres"
    given_settings = dict(part.partition("=")[::2] for part in command[2::2])
    assert set(command[1::2]) == {"-c"}
    assert given_settings["fsync"] == "on"
    assert given_settings["work_mem"] == "4 MB"
    assert given_settings["synchronous_commit"] == "off"
    assert written(settings={"max_connections": "500"})["host_config"]["PidsLimit"] >= 550
