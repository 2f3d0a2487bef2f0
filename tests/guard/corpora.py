"""Statements to judge: files of JSON objects with `class`, `sql` and `expect`, and the SQL that makes their database."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CORPUS = Path(__file__).parent.parent / "corpus"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One statement.  `expect` is `reject`, `neutralise` (it may run, without effect) or `admit`."""

    group: str
    sql: str
    expect: str


def load_samples(directory: Path = CORPUS) -> tuple[Sample, ...]:
    """Return all statements of a directory, files in the order of their names."""
    return tuple(sample for file in sorted(directory.glob("*.jsonl")) for sample in _read(file))


def load_fixtures(directory: Path = CORPUS) -> tuple[str, ...]:
    """Return the scripts that make the database: the corpus's own, or ours where it brings none."""
    files = sorted(directory.glob("*.sql")) or sorted(CORPUS.glob("*.sql"))
    return tuple(file.read_text(encoding="utf-8") for file in files)


def _read(file: Path) -> Iterator[Sample]:
    for line in file.read_text(encoding="utf-8").split("\n"):
        if line.strip():
            found = json.loads(line)
            yield Sample(group=found["class"], sql=found["sql"], expect=found["expect"])
