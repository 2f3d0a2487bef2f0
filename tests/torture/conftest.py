"""Tests of this folder kill on the second engine too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.conftest import engine, second_engine
from tests.faults.interception import Door
from tests.faults.realm import Realm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.second_engine import SecondEngine

__all__ = ["door", "engine", "realm", "second_engine"]


@pytest.fixture
def realm(engine: SecondEngine, tmp_path: Path) -> Iterator[Realm]:
    """That engine with nothing on it but the image that every instance is made from."""
    realm = Realm(engine, tmp_path)
    realm.forget_images()
    yield realm
    realm.close()


@pytest.fixture
def door(engine: SecondEngine, tmp_path: Path) -> Iterator[Door]:
    """A way to it on which somebody can lie in wait."""
    door = Door(engine.address, tmp_path / "door")
    yield door
    door.close()
