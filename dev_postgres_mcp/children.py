"""Starts programs whose output we keep, for the verbs; what takes over our terminal is started in cli/."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ShellEnd:
    """How a shell command ended: its exit code, negative for a signal, and what it wrote, both streams as one."""

    code: int
    output: str


def run_in_shell(command: str, environment: Mapping[str, str], *, directory: Path) -> ShellEnd:
    """Run a shell command with this environment, and nothing else, in a directory; it reads nothing.

    Raises OSError when there is no shell to run it.
    """
    done = subprocess.run(  # noqa: S602 - the user wrote this command line themselves
        command,
        shell=True,
        env=dict(environment),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return ShellEnd(code=done.returncode, output=done.stdout)
