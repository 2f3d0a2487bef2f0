"""What a template is made of, and when two of them are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.databases.sources import SourceKind, find_inputs, fingerprint, parse_source
from dev_postgres_mcp.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with migrations and a module."""
    for name, text in {
        "schema.sql": "SELECT 1;",
        "migrations/2.sql": "SELECT 3;",
        "migrations/10.sql": "SELECT 2;",
        "migrations/README": "not run",
        "migrations/__pycache__/x.pyc": "never read",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def digest(project: Path, *texts: str, inputs: tuple[str, ...] = (), about: tuple[str, ...] = ("17",)) -> str:
    sources = [parse_source(text, base=project) for text in texts]
    return fingerprint(sources, find_inputs(inputs, base=project), base=project, about=about)


@pytest.mark.parametrize(
    "text, kind, files",
    [
        ("schema.sql", SourceKind.SQL, ["schema.sql"]),
        ("migrations", SourceKind.SQL, ["10.sql", "2.sql"]),
        ("cmd: make db ", SourceKind.COMMAND, []),
        ("shop.schema:Tables.create", SourceKind.CALLABLE, []),
    ],
)
def test_a_text_names_a_file_a_directory_a_command_or_a_callable(
    project: Path, text: str, kind: SourceKind, files: list[str]
) -> None:
    source = parse_source(text, base=project)
    assert source.kind is kind
    assert [file.name for file in source.files] == files
    assert source.reads_unknown == (kind is not SourceKind.SQL)


@pytest.mark.parametrize("text", ["absent.sql", "cmd:", "no module:create", "C:\\absent.sql", ""])
def test_anything_else_is_refused_with_what_can_be_written(project: Path, text: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse_source(text or "absent", base=project)
    assert raised.value.hint


def test_the_same_content_elsewhere_is_the_same_template(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import shutil

    other = tmp_path_factory.mktemp("other") / "checkout"
    shutil.copytree(project, other)
    assert digest(project, "schema.sql", inputs=("migrations",)) == digest(
        other, "schema.sql", inputs=("migrations",)
    )


def test_whatever_goes_into_a_template_changes_its_fingerprint(project: Path) -> None:
    seen = {
        digest(project, "schema.sql"),
        digest(project, "migrations"),
        digest(project, "schema.sql", "migrations"),
        digest(project, "migrations", "schema.sql"),
        digest(project, "cmd:make"),
        digest(project, "cmd:make", inputs=("schema.sql",)),
        digest(project, "cmd:make", inputs=("**/*.sql",)),
        digest(project, "schema.sql", about=("18",)),
    }
    (project / "schema.sql").write_text("SELECT 2;")
    seen |= {digest(project, "schema.sql"), digest(project, "cmd:make", inputs=("schema.sql",))}
    (project / "migrations/2.sql").rename(project / "migrations/3.sql")
    seen |= {digest(project, "migrations")}
    assert len(seen) == 11


def test_a_callable_stands_for_the_source_file_of_its_module(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(project)
    (project / "plants.py").write_text("def grow(database): pass")
    before = digest(project, "plants:grow")
    (project / "plants.py").write_text("def grow(database): ...")
    assert digest(project, "plants:grow") != before
    for absent in ("weeds:grow", "weeds.wild:grow", "sys:exit"):
        with pytest.raises(InvalidInput, match="cannot be imported"):
            digest(project, absent)


def test_an_input_that_matches_nothing_is_an_error(project: Path) -> None:
    assert [path.name for path in find_inputs(["migrations"], base=project)] == ["10.sql", "2.sql", "README"]
    with pytest.raises(InvalidInput, match="matches no file"):
        find_inputs(["*.none"], base=project)
