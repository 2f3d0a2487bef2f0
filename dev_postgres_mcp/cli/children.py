"""The one place that starts other programs."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from dev_postgres_mcp.cli.signals import passing_signals_to
from dev_postgres_mcp.errors import EngineUnavailable, InvalidInput
from dev_postgres_mcp.parsing import shorten
from dev_postgres_mcp.settings import child_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.runtimes.base import PsqlCommand


def check_command(words: Sequence[str]) -> None:
    """Raise InvalidInput for what cannot be run, before anything is made for it."""
    if not words:
        raise InvalidInput("there is no command to run", hint="write it after `--`")
    if shutil.which(words[0]) is None:
        raise InvalidInput(
            f"there is no program {shorten(words[0])!r} to run", hint="name one on PATH, or give its path"
        )


def run_command(words: Sequence[str], variables: Mapping[str, str], deadline: Deadline) -> int:
    """Run a command with `variables` in its environment and return its exit code, 128 + n for signal n.

    Signals to us are passed on, and are its own to answer, as under a shell; Ctrl-C reaches a command on our
    terminal without us.  What else cancels `deadline` ends it with SIGTERM.
    """
    # On Windows Ctrl-C comes from the console, which both share, and cannot be passed on.
    has_ctrl_c = sys.platform == "win32" or any(
        stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)
    )
    try:
        child = subprocess.Popen(words, env=child_environment(variables))
    except OSError as exc:
        raise InvalidInput(
            f"{words[0]} cannot be run: {exc.strerror}", hint="name a program on PATH"
        ) from exc

    def receive(number: int) -> None:
        if not (number == signal.SIGINT and has_ctrl_c):
            child.send_signal(number)

    with passing_signals_to(receive), deadline.on_cancel(child.terminate):
        code = child.wait()
    return code if code >= 0 else 128 - code


def would_be_committed(file: Path) -> bool:
    """Tell whether git would take a file along: it is in a work tree and not ignored.  Without git nobody knows."""
    git = shutil.which("git")
    if git is None:
        return False
    words = [git, "-C", str(file.parent), "check-ignore", "--quiet", "--", file.name]
    # 0: ignored; 1: not; 128: no work tree, or none of ours.
    return subprocess.run(words, capture_output=True, check=False).returncode == 1


def run_psql(command: PsqlCommand, arguments: Sequence[str]) -> int:
    """Run psql and return its exit code.

    The password travels in the child's environment, never among its arguments.  Ctrl-C is psql's to answer.
    """
    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    argv = command.tty_argv if on_terminal else command.argv
    if shutil.which(argv[0]) is None:
        raise EngineUnavailable(
            f"psql needs the program `{argv[0]}`, and that is not on PATH",
            hint="install it, or connect with any client: `dev-postgres-mcp postgres get ID --format url`",
        )
    # A handler, not SIG_IGN: a child would inherit that and could not be interrupted at all.
    previous = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        return subprocess.run(  # the exit code is passed on, whatever it is
            [*argv, *arguments], env=child_environment(command.environment), check=False
        ).returncode
    finally:
        signal.signal(signal.SIGINT, previous)
