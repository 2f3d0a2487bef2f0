"""As whom servers run: as an ordinary user, as root in a namespace, and as root who has to step down."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from dev_postgres_mcp.runtimes.embedded import processes
from dev_postgres_mcp.runtimes.embedded.files import SERVER, read_plan, read_process
from dev_postgres_mcp.runtimes.embedded.providers import find_provider
from tests.integration.shell import surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

NO_NAMESPACES = """
import ctypes, os, sys
asking, answering = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    assert ctypes.CDLL(None).unshare(0x10000000) == 0
    os.write(asking[1], b"x")
    os.read(answering[0], 1)
    with open("/proc/sys/user/max_user_namespaces", "w") as file:
        file.write("0")
    os.execvp(sys.argv[1], sys.argv[1:])
os.read(asking[0], 1)
for name in ("uid_map", "gid_map"):
    with open(f"/proc/{child}/{name}", "w") as file:
        file.write("0 0 65536")
os.write(answering[1], b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""Root as it is in many containers: it may become anybody, and may make no namespace."""
ORDINARY = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
STEPPING_DOWN = (sys.executable, "-c", NO_NAMESPACES)


@pytest.fixture
def state() -> Iterator[Path]:
    """A directory that everybody may pass."""
    with tempfile.TemporaryDirectory(prefix="dpm-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@pytest.fixture
def programs(state: Path) -> Path:
    """Server programs that everybody may run."""
    there = state / "programs"
    shutil.copytree(find_provider(None, "17").bin_directory.parent, there, symlinks=True)
    return there


@pytest.fixture(params=["disk", "memory"])
def cli(state: Path, programs: Path, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Run our program as somebody, and return what it prints."""
    environment = surroundings(
        HOME=str(state),
        XDG_STATE_HOME=str(state / "home"),
        DEV_POSTGRES_MCP_RUNTIME="embedded",
        DEV_POSTGRES_MCP_EMBEDDED_DIRECTORY=str(programs),
        DEV_POSTGRES_MCP_EMBEDDED_STORAGE=str(request.param),
    )

    def run(whom: Sequence[str], *arguments: str) -> str:
        ended = subprocess.run(
            [*whom, sys.executable, "-m", "dev_postgres_mcp", *arguments],
            env=environment,
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return run


def owner(pid: int) -> int:
    """Return the user that a process runs as, as we see it."""
    return Path(f"/proc/{pid}").stat().st_uid


@pytest.mark.parametrize(
    "whom, is_root",
    [
        pytest.param((), True, id="root"),
        pytest.param(ORDINARY, True, id="ordinary"),
        pytest.param(STEPPING_DOWN, False, id="stepping down"),
    ],
)
def test_a_server_is_made_used_copied_and_dropped_by_anybody(
    cli: Callable[..., str], state: Path, whom: Sequence[str], is_root: bool
) -> None:
    """The ordinary user here is root outside of its namespace: its files and processes are root's to us."""
    made = json.loads(cli(whom, "postgres", "create", "--format", "json"))
    with psycopg.connect(made["dsn"], autocommit=True) as client:
        client.execute("CREATE TABLE kept AS SELECT 42 AS n")
        directory = state / "home" / "dev-postgres-mcp" / "embedded" / "instances" / made["container_id"]
        server = read_process(str(directory / SERVER))
        assert server is not None
        assert (owner(server[0]) == 0) is is_root
    branch = json.loads(cli(whom, "postgres", "branch", made["id"], "--format", "json"))
    with psycopg.connect(branch["dsn"]) as client:
        assert client.execute("SELECT n FROM kept").fetchone() == (42,)
    data = read_plan(str(directory)).data
    cli(whom, "postgres", "drop", "--all", "--force")
    assert cli(whom, "postgres", "list", "-q") == ""
    assert processes.working_in(data) == []
    assert not Path(data).exists()


def test_scripts_run_as_the_servers_user_and_root_reads_the_log(cli: Callable[..., str], state: Path) -> None:
    scripts = state / "scripts"
    scripts.mkdir()
    (scripts / "1.sql").write_text("CREATE TABLE first AS SELECT 1 AS n;\n")
    (scripts / "2.sh").write_text("psql -c \"CREATE TABLE second AS SELECT '$POSTGRES_DB' AS name\"; id -u\n")
    made = json.loads(
        cli(STEPPING_DOWN, "postgres", "create", "--init", str(scripts), "-d", "shop", "--format", "json")
    )
    with psycopg.connect(made["dsn"]) as client:
        assert client.execute("SELECT name FROM second, first").fetchone() == ("shop",)
    assert "running 2.sh" in cli(STEPPING_DOWN, "postgres", "logs", made["id"])
    cli(STEPPING_DOWN, "postgres", "drop", made["id"])
