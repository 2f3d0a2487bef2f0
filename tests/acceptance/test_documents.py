"""What the documents promise is what the program does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dev_postgres_mcp import __version__
from dev_postgres_mcp.cli.clients import Client
from dev_postgres_mcp.settings import Settings
from tests.acceptance.program import dead_engine, make_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.program import Program

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "docs/pytest.md", "docs/quickstart.md", "llms.txt", "CLAUDE.md")
CONTRACT: dict[str, Any] = json.loads((ROOT / "docs/contracts/tools.json").read_text(encoding="utf-8"))


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def find_commands(document: str) -> Iterator[str]:
    """Every `dev-postgres-mcp ...` of the document's shell blocks, up to where the shell goes on."""
    for block in re.findall(
        r"^```(?:sh|bash|console|shell)\n(.*?)^```", read(document), re.DOTALL | re.MULTILINE
    ):
        for line in block.splitlines():
            yield from re.findall(r"(?:^|[\s(;|&])dev-postgres-mcp( [^#|;&)]*)", line)


def find_rows(document: str, head: str) -> list[str]:
    """The first column of the table whose head begins so."""
    lines = iter(read(document).splitlines())
    rows: list[str] = []
    for line in lines:
        if line.startswith(f"| {head} |"):
            next(lines)
            for row in lines:
                if not row.startswith("|"):
                    break
                rows.append(row.split("|")[1].strip().strip("`"))
    return rows


@pytest.fixture(scope="module")
def helps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `--help` says of each command, groups opened."""
    home = tmp_path_factory.mktemp("home")
    program = make_program(home, dead_engine(home))
    found: dict[str, str] = {}

    def open_group(*path: str) -> None:
        text = program.run(*path, "--help").stdout
        block = re.search(r"^Commands:\n((?:  .*\n)+)", text, re.MULTILINE)
        for name in re.findall(r"^  ([a-z][a-z-]*)", block[1], re.MULTILINE) if block else []:
            open_group(*path, name)
        if not block:
            found[" ".join(path)] = text

    open_group()
    return found


def test_the_contract_of_the_tools_is_what_the_server_lists() -> None:
    done = subprocess.run(
        [sys.executable, "tools/contracts.py", "--check"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "HOME": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_document_names_the_same_version() -> None:
    registry = json.loads(read("server.json"))
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", read("CHANGELOG.md"), re.MULTILINE)
    assert registry["version"] == __version__
    assert [package["version"] for package in registry["packages"]] == [__version__]
    assert newest is not None
    assert newest[1] == __version__


def test_the_registry_knows_only_variables_that_there_are() -> None:
    (package,) = json.loads(read("server.json"))["packages"]
    known = {f"DEV_POSTGRES_MCP_{name.upper()}" for name in Settings.model_fields}
    named = {variable["name"] for variable in package["environmentVariables"]}
    assert named <= known | {"DOCKER_HOST", "DEV_POSTGRES_MCP_CONFIG"}
    assert f"mcp-name: {json.loads(read('server.json'))['name']}" in read("README.md")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_in_a_document_is_one_of_ours(
    offline: Program, helps: dict[str, str], document: str
) -> None:
    known = [command.split() for command in helps]
    for command in dict.fromkeys(find_commands(document)):
        words = [word for word in re.findall(r"[^\s'\"]+", command) if word != "--"]
        if not words:
            continue  # the package's name, or the bare command
        plain = [word for word in words if not word.startswith("-")]
        matching = next((path for path in known if plain[: len(path)] == path), None)
        assert matching or words[0].startswith("--"), f"{document}: dev-postgres-mcp{command}"
        text = helps[" ".join(matching)] if matching else offline.run("--help").stdout
        own = words[: words.index("psql")] if matching and "psql" in matching else words
        for option in (word.partition("=")[0] for word in own if re.match(r"--?[a-zA-Z]", word)):
            assert re.search(rf"(^|[\s,]){re.escape(option)}\b", text), f"{document}: {command}: {option}"


def test_the_readme_shows_commands_at_all() -> None:
    assert len(list(find_commands("README.md"))) > 5


def test_the_readmes_tables_hold_every_tool_command_setting_client_and_exit_code(
    offline: Program, helps: dict[str, str]
) -> None:
    assert find_rows("README.md", "tool") == [tool["name"] for tool in CONTRACT["tools"]]
    assert sorted(find_rows("README.md", "command")) == sorted(helps)
    assert sorted(find_rows("README.md", "setting")) == sorted(Settings.model_fields)
    codes = re.findall(r"^ +(\d\S*)  \w", offline.run("--help").stdout, re.MULTILINE)
    assert find_rows("README.md", "exit code") == codes
    assert all(f"`{client.value}`" in read("README.md") for client in Client)


def test_the_readmes_settings_have_the_defaults_that_the_program_has(offline: Program) -> None:
    ours = [name for name in offline.environment if name.startswith("DEV_POSTGRES_MCP_")]
    plain = offline.without(*ours)
    rows = re.findall(
        r"^\| `(\w+)` \| `DEV_POSTGRES_MCP_\w+` \| `([^`]+)` \|", read("README.md"), re.MULTILINE
    )
    given = [part for name, default in rows for part in ("--set", f"{name}={default}")]
    shown, effective = (
        {setting["name"]: setting["value"] for setting in done.data["settings"]}
        for done in (
            plain.run(*given, "config", "show", "--format", "json"),
            plain.run("config", "show", "--format", "json"),
        )
    )
    assert len(rows) > 5
    assert shown == effective


@pytest.mark.parametrize("document", ["README.md", "docs/pytest.md", "docs/quickstart.md"])
def test_every_link_to_a_file_leads_somewhere(document: str) -> None:
    for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", read(document)):
        assert ((ROOT / document).parent / link).exists(), f"{document}: {link}"
