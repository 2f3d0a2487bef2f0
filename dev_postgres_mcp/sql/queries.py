"""Reads the `.sql` files beside it: each statement under its name, kept as SQL."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def load_queries(file: str = "queries.sql") -> dict[str, str]:
    """Return every statement of a file by name, comments included."""
    text = files("dev_postgres_mcp.sql").joinpath(file).read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}
