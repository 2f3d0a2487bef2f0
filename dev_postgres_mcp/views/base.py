"""What all views are."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class View(BaseModel):
    """Frozen, and strict about its own fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
