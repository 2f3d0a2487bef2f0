"""Init scripts on local servers: the same files, order and environment as under the official image."""

from __future__ import annotations

import gzip
import lzma
from typing import TYPE_CHECKING

import psycopg
import pytest

from dev_postgres_mcp.errors import InitFailed
from dev_postgres_mcp.instances import build_spec
from tests.helpers.acts import conninfo_of, create
from tests.helpers.stages import build_app

if TYPE_CHECKING:
    from pathlib import Path

    from dev_postgres_mcp.app import App
    from tests.helpers.embedded import EmbeddedStage


@pytest.fixture
def app(stage: EmbeddedStage) -> App:
    return build_app(stage)


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    directory = tmp_path / "scripts"
    directory.mkdir()
    return directory


def test_scripts_of_every_kind_run_once_in_the_order_of_their_names(app: App, scripts: Path) -> None:
    (scripts / "1-make.sql").write_text("CREATE TABLE said (n serial, what text);\n")
    (scripts / "2-zip.sql.gz").write_bytes(gzip.compress(b"INSERT INTO said (what) VALUES ('gz');"))
    (scripts / "3-xz.sql.xz").write_bytes(lzma.compress(b"INSERT INTO said (what) VALUES ('xz');"))
    (scripts / "4-shell.sh").write_text(
        "psql -c \"INSERT INTO said (what) VALUES ('$POSTGRES_USER on $POSTGRES_DB')\"\n"
    )
    (scripts / "notes.txt").write_text("no script")
    made = create(app, init=scripts, database="shop", username="keeper")
    with psycopg.connect(conninfo_of(made).dsn()) as client:
        rows = client.execute("SELECT what FROM said ORDER BY n").fetchall()
    assert rows == [("gz",), ("xz",), ("keeper on shop",)]


def test_a_script_that_fails_fails_the_create_with_its_own_words(app: App, scripts: Path) -> None:
    (scripts / "1.sql").write_text("CREATE TABLE fine ();\nSELECT 1/0;\n")
    with pytest.raises(InitFailed) as caught:
        app.manager.create(build_spec(app.defaults, init=scripts))
    assert "division by zero" in caught.value.explain()
    assert app.runtime.list() == ()


def test_a_broken_archive_is_no_short_script(app: App, scripts: Path) -> None:
    whole = gzip.compress(b"CREATE TABLE half ();\n" * 1000)
    (scripts / "1.sql.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InitFailed):
        app.manager.create(build_spec(app.defaults, init=scripts))
    assert app.runtime.list() == ()


def test_a_seed_starts_with_its_data(app: App, scripts: Path) -> None:
    (scripts / "1.sql").write_text("CREATE TABLE seeded AS SELECT 7 AS n;\n")
    base = app.runtime.find_image("postgres:17")
    assert base is not None
    app.images.prepare(base.ref, seed="fruit", init=build_spec(app.defaults, init=scripts).init)
    for asked in ({}, {"database": "shop"}):
        made = create(app, seed="fruit", **asked)
        with psycopg.connect(conninfo_of(made).dsn()) as client:
            assert client.execute("SELECT n FROM seeded").fetchone() == (7,)
