"""From what a caller wrote to a whole spec."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dev_postgres_mcp.errors import InvalidInput
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.instances.specs import build_branch_spec
from dev_postgres_mcp.model import InitFile, Limits, Secret
from tests.helpers.stages import MEGABYTE, MemoryStage, build_app

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App


def test_what_is_left_out_comes_from_the_settings(memory_stage: MemoryStage) -> None:
    program = build_app(
        memory_stage,
        version="16",
        image_repository="mirror/postgres",
        database="d",
        username="u",
        memory="1g",
        cpus=2,
    )
    spec = build_spec(program.defaults)
    assert (spec.version, spec.image) == ("16", "mirror/postgres:16")
    assert (spec.database, spec.username, spec.name) == ("d", "u", "")
    assert spec.limits == Limits(memory=1024 * MEGABYTE, cpus=2)
    assert spec.owner.session == memory_stage.session
    assert (spec.labels, spec.extensions, spec.settings, spec.init) == ({}, (), {}, ())


def test_what_is_asked_for_wins(app: App, tmp_path: Path) -> None:
    (tmp_path / "schema.sql").touch()
    spec = build_spec(
        app.defaults,
        version="15",
        name="shop",
        database="shop",
        username="me",
        password=Secret("word"),
        memory="256m",
        cpus=0.5,
        labels={"a": "b"},
        extensions=["hstore"],
        settings={"work_mem": "8MB"},
        init=tmp_path / "schema.sql",
    )
    assert (spec.version, spec.image, spec.name) == ("15", "postgres:15", "shop")
    assert (spec.database, spec.username, spec.password) == ("shop", "me", Secret("word"))
    assert spec.limits == Limits(memory=256 * MEGABYTE, cpus=0.5)
    assert (spec.labels, spec.extensions, spec.settings) == ({"a": "b"}, ("hstore",), {"work_mem": "8MB"})
    assert spec.init == (InitFile(path=tmp_path / "schema.sql", name="schema.sql"),)


def test_how_long_it_lives_comes_from_the_settings_or_the_caller(memory_stage: MemoryStage) -> None:
    program = build_app(memory_stage, ttl="3h", idle_timeout="10m")
    spec = build_spec(program.defaults)
    assert (spec.ttl, spec.idle_timeout) == (10_800, 600)
    asked = build_spec(program.defaults, ttl="90s", idle_timeout="none")
    assert (asked.ttl, asked.idle_timeout) == (90, None)
    plain = build_spec(build_app(memory_stage).defaults)
    assert (plain.ttl, plain.idle_timeout, plain.seed) == (86_400, None, "")


def test_a_branch_leaves_to_its_source_what_nobody_asked_for(memory_stage: MemoryStage) -> None:
    defaults = build_app(memory_stage, memory="1g", cpus=2, ttl="3h").defaults
    spec = build_branch_spec(defaults)
    assert (spec.memory, spec.cpus, spec.name, spec.ttl) == (None, None, "", 10_800)
    assert spec.owner.session == memory_stage.session
    assert len(spec.password.reveal()) >= 24
    asked = build_branch_spec(defaults, memory="300m", cpus=0.5, name="x", ttl="none", labels={"a": "b"})
    assert (asked.memory, asked.cpus, asked.name) == (300 * MEGABYTE, 0.5, "x")
    assert (asked.ttl, asked.labels) == (None, {"a": "b"})


def test_an_image_decides_its_version(app: App) -> None:
    spec = build_spec(app.defaults, image="pgvector/pgvector:pg17")
    assert (spec.image, spec.version) == ("pgvector/pgvector:pg17", "")
    with pytest.raises(InvalidInput, match="both a version and an image") as caught:
        build_spec(app.defaults, image="postgres:17", version="17")
    assert caught.value.hint


def test_a_password_is_made_for_each_spec_when_none_is_given(app: App) -> None:
    passwords = {build_spec(app.defaults).password.reveal() for _ in range(20)}
    assert len(passwords) == 20
    assert all(len(password) >= 24 for password in passwords)


def test_the_password_of_the_settings_is_every_instances(memory_stage: MemoryStage) -> None:
    program = build_app(memory_stage, password="of the settings")
    assert build_spec(program.defaults).password == Secret("of the settings")
    assert build_spec(program.defaults, password=Secret("mine")).password == Secret("mine")


def test_an_empty_password_of_the_settings_is_none(memory_stage: MemoryStage) -> None:
    """As the setting's description promises: empty, a random one for each."""
    program = build_app(memory_stage, password="")
    assert len(build_spec(program.defaults).password.reveal()) >= 24


@pytest.mark.parametrize(
    "asked, problem",
    [
        ({"version": "9"}, "PostgreSQL version '9' is not offered"),
        ({"version": "17.5"}, "is not offered"),
        ({"memory": "1 MB"}, "memory 1 MB is too little"),
        ({"memory": ""}, "memory '' is not a size"),
        ({"cpus": 0}, "cpus 0 is out of range"),
        ({"cpus": -1}, "cpus -1 is out of range"),
        ({"cpus": float("nan")}, "cpus nan is out of range"),
        ({"cpus": float("inf")}, "cpus inf is out of range"),
        ({"database": ""}, "database name is empty"),
        ({"database": "x" * 10_000}, "is 10000 bytes long"),
        ({"username": ""}, "user name is empty"),
        ({"username": "x" * 10_000}, "is 10000 bytes long"),
        ({"username": "pg_x"}, "reserved"),
        ({"password": Secret("")}, "password is empty"),
        ({"password": Secret("a\nb")}, "line break"),
        ({"name": ""}, "instance name is empty"),
        ({"name": "x" * 10_000}, "is 10000 bytes long"),
        ({"name": "a\nb"}, "control characters"),
        ({"image": ""}, "no image reference"),
        ({"image": "a b"}, "no image reference"),
        ({"image": "a\nb"}, "no image reference"),
        ({"image": "x" * 10_000}, "no image reference"),
        ({"image": "Postgres:17"}, "'Postgres:17' is no image reference"),
        ({"image": "postgres:17/../../containers"}, "no image reference"),
        ({"database": "template0"}, "template0 accepts no connections"),
        ({"ttl": "soon"}, "ttl 'soon' is not a duration"),
        ({"idle_timeout": ""}, "idle_timeout '' is not a duration"),
        ({"seed": "a b"}, "cannot be given"),
        ({"seed": "shop", "init": Path("x.sql")}, "both a seed and init scripts"),
        ({"labels": {"": "x"}}, "label '' cannot be stored"),
        ({"labels": {"a": "\0"}}, "label 'a' cannot be stored"),
        ({"extensions": [""]}, "extension name is empty"),
        ({"settings": {"port": "1"}}, "belongs to dev-postgres-mcp"),
        ({"settings": {"a b": "1"}}, "is not the name of a PostgreSQL setting"),
    ],
)
def test_bad_input_is_refused_before_anything_is_begun(app: App, asked: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        build_spec(app.defaults, **asked)
    assert problem in caught.value.message
    assert len(caught.value.explain()) < 400


def test_a_home_in_an_init_path_is_the_users(app: App, home: Path) -> None:
    (home / "schema.sql").touch()
    spec = build_spec(app.defaults, init=Path("~/schema.sql"))
    assert spec.init == (InitFile(path=home / "schema.sql", name="schema.sql"),)


def test_a_relative_init_path_is_taken_from_the_working_directory(
    app: App, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "schema.sql").touch()
    monkeypatch.chdir(tmp_path)
    (found,) = build_spec(app.defaults, init=Path("schema.sql")).init
    assert (found.path, found.name) == (Path.cwd() / "schema.sql", "schema.sql")
    assert found.path.is_absolute()


@pytest.mark.parametrize(
    "init",
    [
        "/no/such/file.sql",
        "~nobody-of-that-name/schema.sql",
        "x" * 10_000,
        "a" * 300 + ".sql",
        "CREATE TABLE fruit (name text); INSERT INTO fruit VALUES ('mango');" * 100,
        "SELECT 1;",
    ],
)
def test_an_init_that_is_no_path_is_refused_in_few_words(app: App, init: str) -> None:
    with pytest.raises(InvalidInput, match=r"^init ") as caught:
        build_spec(app.defaults, init=Path(init))
    assert "path" in caught.value.hint
    assert len(caught.value.explain()) < 400
