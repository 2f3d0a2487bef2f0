"""The table, as text for a terminal and as Markdown for the document that keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.measuring import Unit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.measuring import Row, Target

BEGIN, END = "<!-- numbers: begin -->", "<!-- numbers: end -->"
HEAD = ("what", "n", "median", "quartiles", "ratio", "target", "met")
_DIGITS = {Unit.SECONDS: 3, Unit.MEGABYTES: 1, Unit.CORE: 2}


def render_text(rows: Sequence[Row]) -> str:
    """Return the table in columns, a heading before each subject."""
    cells = [_cells(row) for row in rows]
    widths = [max(len(line[column]) for line in (HEAD, *cells)) for column in range(len(HEAD))]
    lines: list[str] = []
    subject = ""
    for row, line in zip(rows, cells, strict=True):
        if row.subject != subject:
            subject = row.subject
            lines += ["", subject.upper(), _in_columns(HEAD, widths)]
        lines.append(_in_columns(line, widths))
    return "".join(f"{line.rstrip()}\n" for line in lines)


def render_markdown(about: Sequence[str], rows: Sequence[Row]) -> str:
    """Return the table as Markdown, one for each subject."""
    lines = [f"{'; '.join(about)}."]
    subject = ""
    for row in rows:
        if row.subject != subject:
            subject = row.subject
            lines += ["", f"### {subject[0].upper()}{subject[1:]}", "", _in_bars(HEAD)]
            lines.append(_in_bars(["---"] * len(HEAD)))
        lines.append(_in_bars(_cells(row)))
    return "".join(f"{line}\n" for line in lines)


def write_block(document: Path, block: str) -> None:
    """Put a text between the two marks of a document; raises ValueError when they are not there."""
    before, begin, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} has no block between {BEGIN} and {END}")
    document.write_text(f"{before}{BEGIN}\n\n{block}\n{END}{after}", encoding="utf-8")


def _cells(row: Row) -> tuple[str, ...]:
    first, third = row.quartiles
    spread = f"{_number(first, row.unit)}-{_number(third, row.unit)}" if len(row.values) > 1 else "-"
    return (
        row.what,
        str(len(row.values)),
        f"{_number(row.median, row.unit)} {row.unit}",
        spread,
        f"{row.ratio_to(row.beside):.3g} x {_short(row.beside)}" if row.beside else "",
        ", ".join(_describe(target, row.unit) for target in row.targets),
        ", ".join("yes" if row.meets(target) else "NO" for target in row.targets),
    )


def _describe(target: Target, unit: Unit) -> str:
    return (
        f"<= {target.at_most:g} x {_short(target.of)}"
        if target.of is not None
        else f"<= {target.at_most:g} {unit}"
    )


def _short(row: Row) -> str:
    return row.short or row.what


def _number(value: float, unit: Unit) -> str:
    return f"{value:.{_DIGITS[unit]}f}"


def _in_columns(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))


def _in_bars(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
