"""Time travel through both faces: take, list, branch, restore, delete, and what is said when that cannot be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from dev_postgres_mcp.parsing import new_id
from tests.acceptance.data import execute, fruit, stock
from tests.acceptance.wire import RawSession, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.program import Program

pytestmark = [pytest.mark.wheel, pytest.mark.docker]

FORM = ("--format", "json")
ALL = ["apple", "mango", "melon"]
SNAPSHOT = [
    "branches",
    "created_at",
    "expires_at",
    "id",
    "image",
    "name",
    "restored",
    "size_bytes",
    "source",
    "version",
]
SAME = ("id", "name", "host", "port", "database", "username", "password", "dsn", "expires_at", "created_at")


@pytest.fixture
def shop(instance: dict[str, Any]) -> dict[str, Any]:
    """An instance with a table."""
    stock(instance)
    return instance


@pytest.fixture
def name() -> str:
    """A name that nobody else on the engine gives a snapshot."""
    return f"before-{new_id()}"


def test_a_snapshot_is_taken_restored_to_and_deleted_from_the_shell(
    program: Program, shop: dict[str, Any], name: str
) -> None:
    taken = program.run("postgres", "snapshot", "take", shop["id"][:9], name, *FORM).data
    (snapshot,) = taken["snapshots"]
    assert sorted(snapshot) == SNAPSHOT
    assert (snapshot["name"], snapshot["source"], snapshot["branches"]) == (name, shop["id"], [])
    kept = datetime.fromisoformat(snapshot["expires_at"]) - datetime.now(UTC)
    assert kept.total_seconds() == pytest.approx(7 * 86_400, abs=60)
    assert snapshot["size_bytes"] > 1024**2

    listed = program.run("postgres", "snapshot", "list")
    row = next(line for line in listed.stdout.splitlines() if line.startswith(snapshot["id"]))
    assert all(word in row.split() for word in (name, shop["id"], "17"))
    assert "snapshot" in listed.stderr

    execute(shop, "DELETE FROM fruit WHERE price > 1", "CREATE ROLE intruder")
    assert fruit(shop) == ["apple"]
    restored = program.run("postgres", "restore", shop["id"], name, *FORM)
    assert {key: restored.data[key] for key in SAME} == {key: shop[key] for key in SAME}
    assert f"restoring {shop['id']} to {name}" in restored.stderr
    assert fruit(shop) == ALL, "with the dsn of its creation"
    execute(shop, "CREATE ROLE intruder")

    deleted = program.run("postgres", "snapshot", "delete", snapshot["id"], code=1)
    assert f"{name} carries what was restored to it: {shop['id']}" in deleted.stderr, "it stands on it now"
    program.run("postgres", "drop", shop["id"])
    deleted = program.run("postgres", "snapshot", "delete", snapshot["id"])
    assert deleted.stderr == f"deleted {name}\n"
    assert snapshot["id"] not in program.run("postgres", "snapshot", "list", "-q").stdout.split()


@pytest.mark.parametrize("source", ["instance", "snapshot"])
def test_a_branch_has_the_data_and_a_life_of_its_own(
    program: Program, shop: dict[str, Any], name: str, source: str
) -> None:
    if source == "snapshot":
        program.run("postgres", "snapshot", "take", shop["id"], name)
    ref = shop["id"] if source == "instance" else name
    options = ("--name", "experiment", "--ttl", "2h", "--memory", "256m")
    branch = program.run("postgres", "branch", ref, *options, *FORM).data
    assert all(branch[key] != shop[key] for key in ("id", "port", "password", "dsn", "container_id"))
    assert all(branch[key] == shop[key] for key in ("database", "username", "version"))
    assert (branch["name"], branch["status"]) == ("experiment", "ready")
    assert fruit(branch) == ALL
    execute(branch, "DROP TABLE fruit")
    assert fruit(shop) == ALL
    execute(shop, "DELETE FROM fruit")
    third = program.run("postgres", "branch", branch["id"], "--format", "url").stdout.strip()
    assert third.startswith("postgresql://")
    assert program.run("postgres", "drop", shop["id"], *FORM).data["results"][0]["outcome"] == "dropped"
    execute(branch, "CREATE TABLE fruit ()")


def test_a_snapshot_in_use_is_deleted_only_by_force_and_its_branches_with_it(
    program: Program, shop: dict[str, Any], name: str, left: Callable[[], list[str]]
) -> None:
    program.run("postgres", "snapshot", "take", shop["id"], name)
    branch = program.run("postgres", "branch", name, "-q").stdout.strip()
    refused = program.run("postgres", "snapshot", "delete", name, code=1)
    assert f"{name} carries the branches {branch}" in refused.stderr
    assert "delete with force" in refused.stderr
    forced = program.run("postgres", "snapshot", "delete", name, "--force")
    assert forced.stderr == f"deleted {name}, and dropped {branch}\n"
    assert left() == [f"mcp-postgres-{shop['id']}"]
    assert program.run("postgres", "snapshot", "delete", name, code=3).stdout == ""


def test_what_cannot_be_is_said_with_its_exit_code(program: Program, shop: dict[str, Any], name: str) -> None:
    take = ("postgres", "snapshot", "take", shop["id"])
    program.run(*take, name)
    for code, says, arguments in (
        (2, f"there is a snapshot '{name}' already", (*take, name)),
        (2, "cannot be given", (*take, "no name at all")),
        (2, "'soon' is not a duration", (*take, "--ttl", "soon")),
        (3, "no instance answers to 'nobody'", ("postgres", "snapshot", "take", "nobody")),
        (3, "no instance answers to 'nobody'", ("postgres", "branch", "nobody")),
        (3, "no snapshot answers to 'never'", ("postgres", "restore", shop["id"], "never")),
        (3, "no instance answers to 'nobody'", ("postgres", "restore", "nobody", name)),
        (3, "no snapshot answers to 'never'", ("postgres", "snapshot", "delete", "never")),
        (3, "no instance answers to 'nobody'", ("postgres", "try", "nobody", "--", "true")),
        (3, "no instance answers to 'nobody'", ("postgres", "rehearse", "nobody", "-")),
    ):
        done = program.run(*arguments, code=code)
        assert says in done.stderr, arguments
        assert "hint: " in done.stderr, arguments
        assert done.stdout == ""
    other = program.run("postgres", "create", "--database", "other", "-q").stdout.strip()
    refused = program.run("postgres", "restore", other, name, code=2)
    assert "'postgres'" in refused.stderr
    assert "'other'" in refused.stderr
    assert "hint: branch the snapshot instead" in refused.stderr


def test_a_name_that_is_an_instances_and_a_snapshots_is_ambiguous(
    program: Program, shop: dict[str, Any], name: str
) -> None:
    taken = program.run("postgres", "snapshot", "take", shop["id"], name, "-q").stdout.strip()
    namesake = program.run("postgres", "create", "--name", name, "-q").stdout.strip()
    done = program.run("postgres", "branch", name, code=2)
    assert taken in done.stderr
    assert namesake in done.stderr
    assert fruit(program.run("postgres", "branch", taken, *FORM).data) == ALL


def test_a_snapshot_without_a_name_gets_one_and_ends_when_it_is_told(
    program: Program, shop: dict[str, Any]
) -> None:
    taken = program.run("postgres", "snapshot", "take", shop["id"], "--ttl", "none", *FORM).data
    (snapshot,) = taken["snapshots"]
    assert snapshot["name"] == f"snapshot-{snapshot['id']}"
    assert snapshot["expires_at"] is None
    row = program.run("postgres", "snapshot", "list").stdout.partition(snapshot["id"])[2].splitlines()[0]
    assert "none" in row.split()


def test_an_agent_travels_in_time_over_mcp(
    program: Program, name: str, left: Callable[[], list[str]]
) -> None:
    with RawSession(program) as session:
        shop = session.call("create_postgres_instance", name=f"shop {name}")["structuredContent"]
        stock(shop)
        taken = session.call("take_postgres_snapshot", id=shop["id"], name=name)["structuredContent"]
        assert sorted(taken) == SNAPSHOT
        execute(shop, "DELETE FROM fruit")

        request = session.send("tools/call", name="branch_postgres_instance", arguments={"source": name})
        branch = session.wait_answer(request)["result"]["structuredContent"]
        assert session.progress(request)
        assert (fruit(branch), fruit(shop)) == (ALL, [])
        assert branch["dsn"] != shop["dsn"]
        assert branch["idle_timeout"] == 7200

        listed = session.call("list_postgres_snapshots")["structuredContent"]["snapshots"]
        (own,) = [one for one in listed if one["id"] == taken["id"]]
        assert own["branches"] == [branch["id"]]

        restored = session.call("restore_postgres_instance", id=shop["id"], snapshot=name)
        assert {key: restored["structuredContent"][key] for key in SAME} == {key: shop[key] for key in SAME}
        assert fruit(shop) == ALL

        for tool, arguments, says in (
            ("take_postgres_snapshot", {"id": shop["id"], "name": name}, "already"),
            ("take_postgres_snapshot", {"id": shop["id"], "ttl": "soon"}, "'soon' is not a duration"),
            ("take_postgres_snapshot", {"id": "nobody"}, "no instance answers to 'nobody'"),
            ("branch_postgres_instance", {"source": "nobody"}, "no instance answers to 'nobody'"),
            ("restore_postgres_instance", {"id": shop["id"], "snapshot": "never"}, "no snapshot answers"),
            ("delete_postgres_snapshot", {"snapshot": "never"}, "no snapshot answers to 'never'"),
            ("delete_postgres_snapshot", {"snapshot": name}, branch["id"]),
            (
                "delete_postgres_snapshot",
                {"snapshot": name, "force": True},
                f"what was restored to it: {shop['id']}",
            ),
        ):
            refused = session.call(tool, **arguments)
            assert refused["isError"] is True, tool
            assert says in text_of(refused), tool
            assert "hint: " in text_of(refused), tool

        assert fruit(shop) == fruit(branch) == ALL, "a refusal drops nothing"
        session.call("drop_postgres_instance", id=shop["id"])
        answer = session.call("delete_postgres_snapshot", snapshot=name, force=True)
        assert answer["isError"] is False, text_of(answer)
        deleted = answer["structuredContent"]
        assert deleted["branches"] == [branch["id"]]
    assert left() == []
