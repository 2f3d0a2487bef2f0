"""A create returns when the server is ready for anybody, and no sooner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.integration.queries import dsn_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Create

pytestmark = pytest.mark.docker


@pytest.mark.parametrize("init_seconds", [0, 0.1, 0.3, 0.5, 0.8])
def test_the_first_connection_works_at_the_first_try(
    create: Create, tmp_path: Path, init_seconds: float
) -> None:
    """While scripts run, the image's temporary server answers on its socket: that is not ready."""
    init = tmp_path / "init.sql"
    init.write_text(f"SELECT pg_sleep({init_seconds}); CREATE TABLE done ();")
    with psycopg.connect(dsn_of(create(init=init))) as connection:
        assert connection.execute("SELECT * FROM done").fetchall() == []
        assert connection.execute("SHOW listen_addresses").fetchone() == ("*",)
