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
        self._with_bytes = False
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
        self.stop()

    def stop(self) -> None:
        """Take the bar away: what follows writes to the terminal itself."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, progress: Progress) -> None:
        with_bytes = progress.total > 0
        if self._bar is None or with_bytes != self._with_bytes:
            self.__exit__(None, None, None)
            self._bar, self._with_bytes = _make_bar(with_bytes=with_bytes), with_bytes
            self._bar.add_task(progress.message)
            self._bar.start()
        self._bar.update(
            self._bar.tasks[0].id,
            description=progress.message,
            completed=progress.done,
            total=progress.total or None,
        )


def _make_bar(*, with_bytes: bool) -> Bar:
    """Return a bar for known sizes, else a spinner; both with the time that has passed."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    # The text comes last: it is the longest, and what a narrow terminal cuts.
    first = (BarColumn(20), DownloadColumn(binary_units=True)) if with_bytes else (SpinnerColumn(),)
    text = TextColumn("{task.description}", markup=False)
    return Progress(*first, TimeElapsedColumn(), text, console=Console(stderr=True), transient=True)
