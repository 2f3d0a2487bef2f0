"""A project with tests of its own, and what its runs leave on the engine."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from dev_postgres_mcp.databases.stock import SNAPSHOT_PREFIX
from tests.helpers.stages import build_app, owned

if TYPE_CHECKING:
    import pytest

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance
    from tests.helpers.stages import DockerStage

PATIENCE = 100.0
NOTE = """
import os, pytest

@pytest.fixture
def note():
    def write(*words):
        with open(os.path.join(os.path.dirname(__file__), "notes"), "a") as file:
            file.write(" ".join(map(str, words)) + "\\n")
    return write
"""
"""A conftest with which tests tell us what they have seen: one line each, also from several processes."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A directory with tests; runs of it are processes of their own."""

    pytester: pytest.Pytester
    stage: DockerStage
    environment: pytest.MonkeyPatch

    def write(self, tests: str, **files: str) -> None:
        """Write the tests and other files; `__` in a name is a dot, `mark` what no other suite's templates have."""
        for name, text in {"conftest__py": NOTE, "test_it__py": tests, **files}.items():
            path = self.pytester.path / name.replace("__", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("MARK", self.stage.session))

    def run(self, *options: str, **outcomes: int) -> str:
        """Run the tests to their end and return what pytest printed; check the numbers that are given."""
        result = self.pytester.runpytest_subprocess(*options, timeout=PATIENCE)
        if outcomes:
            result.assert_outcomes(**outcomes)
        return result.stdout.str() + result.stderr.str()

    def start(self, *options: str, directory: Path | None = None) -> subprocess.Popen[str]:
        """Start the tests in a process group of their own, which can be killed as a whole."""
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", *options],
            cwd=directory or self.pytester.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def notes(self, name: str = "notes") -> list[str]:
        """Return the lines that tests or commands have written."""
        path = self.pytester.path / name
        return path.read_text().splitlines() if path.exists() else []

    def app(self) -> App:
        """Return our own program, to look at the engine with."""
        return build_app(self.stage)

    def instances(self) -> list[Instance]:
        """Return the servers of this suite that are there; to each this is a client."""
        app = self.app()
        return [app.manager.get(one.id) for one in owned(self.stage, app.runtime)]

    def is_over(self) -> bool:
        """Tell whether no server of this suite is there, without being a client of any."""
        return owned(self.stage, self.stage.runtime()) == ()

    def snapshots(self) -> list[str]:
        """Return the names of the snapshots with templates of this project."""
        ours = f"{SNAPSHOT_PREFIX}{sha256(str(self.pytester.path).encode()).hexdigest()[:8]}-"
        return [one.name for one in self.app().snapshots.list() if one.name.startswith(ours)]
