"""Tests of this folder kill on the second engine too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.conftest import engine, realm, second_engine
from tests.faults.interception import Door

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.second_engine import SecondEngine

__all__ = ["door", "engine", "realm", "second_engine"]


@pytest.fixture
def door(engine: SecondEngine, tmp_path: Path) -> Iterator[Door]:
    """A way to it on which somebody can lie in wait."""
    door = Door(engine.address, tmp_path / "door")
    yield door
    door.close()
