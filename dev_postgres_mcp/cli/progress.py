"""A verb's progress for the person who waits: a bar while bytes are known, one line a step otherwise."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

from dev_postgres_mcp.cli.render import talk

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress as Bar

    from dev_postgres_mcp.model import Progress


class ProgressTalk:
    """Writes progress to stderr: with a bar on a terminal, as lines elsewhere, not at all when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        """Be silent when `quiet`."""
        self._quiet = quiet
        self._bar: Bar | None = None
        self._said = ""

    def __call__(self, progress: Progress) -> None:
        """Show one step."""
        if self._quiet:
            return
        if sys.stderr.isatty():
            self._draw(progress)
        elif (step := progress.message.partition(":")[0]) != self._said:
            self._said = step
            talk(progress.message)

    def __enter__(self) -> Self:
        """Nothing is drawn before the first step."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()

    def _draw(self, progress: Progress) -> None:
        if self._bar is None:
            self._bar = _make_bar()
            self._bar.start()
            self._bar.add_task("", total=None)
        task = self._bar.tasks[0].id
        self._bar.update(
            task, description=progress.message, completed=progress.done, total=progress.total or None
        )


def _make_bar() -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        console=Console(stderr=True),
        transient=True,
    )
