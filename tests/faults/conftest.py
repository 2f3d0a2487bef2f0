"""One engine for all tests of this folder; each test finds it running, with room, and empty."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.faults.realm import Realm
from tests.faults.second_engine import SecondEngine, load_image

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def second_engine() -> Iterator[SecondEngine]:
    """An engine of our own with the image that tests use; needs root, as an engine does."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("a second engine needs root on Linux")
    engine = SecondEngine()
    try:
        load_image(engine, "postgres:17")
        yield engine
    finally:
        engine.close()


@pytest.fixture
def engine(second_engine: SecondEngine) -> Iterator[SecondEngine]:
    """The engine as a test wants to find it."""
    second_engine.clear()
    yield second_engine
    second_engine.recover()
    second_engine.clear()


@pytest.fixture
def realm(engine: SecondEngine) -> Iterator[Realm]:
    """That engine with nothing on it but the image that every instance is made from."""
    realm = Realm(engine)
    realm.forget_images()
    yield realm
    realm.close()
