"""The same as in tests/integration, a thousand times."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.integration.flatness import check_flatness

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.stages import DockerStage

pytestmark = [pytest.mark.docker, pytest.mark.torture, pytest.mark.timeout(3600)]

ROUNDS = int(os.environ.get("FLATNESS_ROUNDS", "1000"))


def test_a_thousand_rounds_leave_a_server_as_it_was(docker_stage: DockerStage, tmp_path: Path) -> None:
    anyio.run(check_flatness, docker_stage, tmp_path, ROUNDS)
