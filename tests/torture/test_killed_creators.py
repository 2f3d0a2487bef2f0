"""The same as tests/integration, at many more moments."""

from __future__ import annotations

import os

import pytest

from dev_postgres_mcp.parsing import new_id
from tests.integration.killing import check_nothing_is_hidden

pytestmark = [pytest.mark.docker, pytest.mark.torture, pytest.mark.timeout(1800)]

SEEDS = int(os.environ.get("TORTURE_SEEDS", "200"))
ROUND = 40


@pytest.mark.parametrize("first", range(0, SEEDS, ROUND))
def test_whatever_a_killed_creator_leaves_is_listed_and_can_be_dropped(first: int) -> None:
    check_nothing_is_hidden(range(first, min(first + ROUND, SEEDS)), f"torture-{new_id()}")
