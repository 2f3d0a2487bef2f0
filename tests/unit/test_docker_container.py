"""How an instance is written as a container and read back; what is not ours is not read."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import docker
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev_postgres_mcp.errors import ImageUnsuitable
from dev_postgres_mcp.model import InitFile, Limits, Owner
from dev_postgres_mcp.runtimes.base import Image
from dev_postgres_mcp.runtimes.docker.container import Place, create_arguments, read_details, read_summary
from tests.helpers.stages import MEGABYTE, some_launch

PLACE = Place(bind_host="127.0.0.1", host="127.0.0.1", port=15500, network_id="net1")
OWNER = Owner(session="s", user="u", cwd="/c", process="p")
ID = "abcdefghjkmn"


def written(**changes: Any) -> dict[str, Any]:
    """Return the arguments for a container, made by the SDK's own client without an engine."""
    api = docker.APIClient(base_url="tcp://127.0.0.1:1", version="1.41")
    try:
        return create_arguments(api, some_launch(**changes), PLACE)  # type: ignore[arg-type]  # the client's own base
    finally:
        api.close()


def listed(arguments: dict[str, Any], **changes: Any) -> dict[str, Any]:
    summary = {
        "Id": "f" * 64,
        "Names": [f"/{arguments['name']}"],
        "Labels": arguments["labels"],
        "State": "running",
    }
    return summary | changes


def inspected(arguments: dict[str, Any], **state: Any) -> dict[str, Any]:
    return {
        "Id": "f" * 64,
        "Name": f"/{arguments['name']}",
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
    launch = some_launch(owner=OWNER, labels={"suite": "a"}, limits=Limits(memory=256 * MEGABYTE, cpus=0.25))
    api = docker.APIClient(base_url="tcp://127.0.0.1:1", version="1.41")
    arguments = create_arguments(api, launch, PLACE)  # type: ignore[arg-type]  # the client's own base
    api.close()
    for container in (read_summary(listed(arguments), "h"), read_details(inspected(arguments), "h")):
        assert container is not None
        assert container.id == launch.record.id
        assert container.container_id == "f" * 64
        assert (container.endpoint.host, container.endpoint.port) == ("h", 15500)
        assert container.owner == OWNER
        assert container.labels == {"suite": "a"}
        assert container.limits == launch.limits
        assert (container.version, container.image) == ("17", "postgres:17")
        assert container.running
        assert container.evidence is None
        assert container.name == arguments["name"] == f"mcp-postgres-{launch.record.id}"
        assert container.ready_by - container.created_at == timedelta(seconds=60)


def test_a_container_says_until_when_it_may_take_to_be_ready() -> None:
    container = read_summary(listed(written(patience=300.0)), "h")
    assert container is not None
    assert container.ready_by - container.created_at == timedelta(seconds=300)


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_labels_of_users_never_collide_with_ours(labels: dict[str, str]) -> None:
    container = read_summary(listed(written(labels=labels)), "h")
    assert container is not None
    assert container.labels == labels
    assert container.endpoint.port == 15500


@pytest.mark.parametrize(
    "key", ["id", "port", "owner.user", "label.id", "dev-postgres-mcp.id", "created-at", "."]
)
def test_a_label_named_like_one_of_ours_stays_the_users(key: str) -> None:
    container = read_summary(listed(written(owner=OWNER, labels={key: "theirs"})), "h")
    assert container is not None
    assert container.labels == {key: "theirs"}
    assert (container.owner, container.endpoint.port) == (OWNER, 15500)


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


@pytest.mark.parametrize("key", ["port", "created-at", "ready-by", "memory", "cpus"])
@pytest.mark.parametrize("value", ["", "x", "-", "1.2.3"])
def test_a_container_whose_labels_are_broken_is_not_ours(key: str, value: str) -> None:
    arguments = written()
    arguments["labels"][f"dev-postgres-mcp.{key}"] = value
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
    assert host["Tmpfs"] == {"/var/lib/postgresql/data": "size=1m,mode=1777"}
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
