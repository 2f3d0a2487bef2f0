"""A server that lives for long holds no more memory, files, sockets and threads than at first."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.integration.flatness import check_flatness
from tests.integration.shell import cli, surroundings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.helpers.stages import DockerStage

pytestmark = [
    pytest.mark.docker,
    pytest.mark.alone,  # a list looks into every container that is there, each on a connection
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


def test_rounds_of_create_list_and_drop_leave_a_server_as_it_was(stage: DockerStage, tmp_path: Path) -> None:
    environment = surroundings(XDG_STATE_HOME=str(tmp_path), DEV_POSTGRES_MCP_SESSION=stage.session)

    async def check() -> None:
        await check_flatness(cli(), environment, 150, seconds=35)

    anyio.run(check)
