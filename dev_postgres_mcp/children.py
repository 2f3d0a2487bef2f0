"""Starts programs whose output we keep, for the verbs; what takes over our terminal is started in cli/."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class ShellEnd:
    """How a shell command ended: its exit code, negative for a signal, and what it wrote, both streams as one."""

    code: int
    output: str


def run_in_shell(command: str, environment: Mapping[str, str], *, directory: Path) -> ShellEnd:
    """Run a shell command with this environment, and nothing else, in a directory; it reads nothing.

    It finds the programs that are installed beside our Python first, whether or not that was activated.  Raises OSError when there is no shell to run it.
    """
    beside = str(Path(sys.executable).parent)
    done = subprocess.run(  # noqa: S602 - the user wrote this command line themselves
        command,
        shell=True,
        env={**environment, "PATH": os.pathsep.join((beside, environment.get("PATH", os.defpath)))},
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return ShellEnd(code=done.returncode, output=done.stdout)
