"""The same as in tests/integration, a thousand times, on an engine that nobody else uses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.integration.flatness import check_flatness
from tests.integration.shell import cli

if TYPE_CHECKING:
    from tests.faults.second_engine import SecondEngine

pytestmark = [pytest.mark.docker, pytest.mark.torture, pytest.mark.timeout(3600)]

ROUNDS = int(os.environ.get("FLATNESS_ROUNDS", "1000"))


def test_a_thousand_rounds_leave_a_server_as_it_was(engine: SecondEngine) -> None:
    anyio.run(check_flatness, engine.enter(*cli()), engine.environment(), ROUNDS)
    assert engine.containers() == []
