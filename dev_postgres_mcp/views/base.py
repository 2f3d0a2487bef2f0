"""What all views are."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class View(BaseModel):
    """Frozen, and strict about its own fields.

    pydantic builds the validator of a view when the view is first made: a command shows one or two of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
