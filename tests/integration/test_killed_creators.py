"""`kill -9` of a creating process at any moment: nothing is left that `list` does not show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.killing import check_nothing_is_hidden

if TYPE_CHECKING:
    from tests.helpers.stages import DockerStage

pytestmark = pytest.mark.docker


def test_whatever_a_killed_creator_leaves_is_listed_and_can_be_dropped(stage: DockerStage) -> None:
    check_nothing_is_hidden(range(20), f"{stage.session}-killed")
