"""Ask an installed program what it is: once, as starting one costs more than all the looking around."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

SUFFIX = ".exe" if sys.platform == "win32" else ""
PATIENCE = 10.0
"""Seconds that a program may take to say what it is."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a program said, or what was in the way of it."""

    text: str = ""
    trouble: str = ""


def find_program(directory: Path, name: str) -> Path:
    """Return the path that a program has in a directory, whether it is there or not."""
    return directory / f"{name}{SUFFIX}"


def ask(program: Path, option: str) -> Answer:
    """Return what a program says of itself; a file that has changed is asked again."""
    try:
        return _ask(program, option, program.stat().st_mtime_ns)
    except OSError as exc:
        return Answer(trouble=f"cannot be looked at: {exc.strerror}")


@lru_cache(maxsize=64)
def _ask(program: Path, option: str, _changed: int) -> Answer:
    try:
        done = subprocess.run(
            [program, option], capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return Answer(trouble=f"does not answer {option} in {PATIENCE:.0f} s")
    except OSError as exc:
        return Answer(trouble=f"does not run: {exc.strerror}")
    if done.returncode:
        said = done.stderr.strip().partition("\n")[0] or f"exit code {done.returncode}"
        return Answer(trouble=f"does not answer {option}: {said}")
    return Answer(text=done.stdout.strip())
