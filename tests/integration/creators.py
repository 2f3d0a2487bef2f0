"""Processes of their own that create instances at the same time, started together.

As a program: says `ready`, waits for a line of JSON (how many, what settings, what to ask for), creates that
many instances on a thread each, and answers with one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tests.integration.shell import surroundings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, kw_only=True)
class Created:
    """What became of one create; `error` is the code of the error, empty when it worked."""

    seconds: float
    id: str = ""
    container_id: str = ""
    port: int = 0
    dsn: str = ""
    error: str = ""
    text: str = ""


def create_in_processes(
    processes: int,
    each: int,
    *,
    settings: Mapping[str, Any],
    asked: Mapping[str, Any] | None = None,
    prefix: Sequence[str] = (),
) -> list[Created]:
    """Let several processes, all begun at one moment, make `each` creates in parallel."""
    order = json.dumps({"each": each, "settings": dict(settings), "asked": dict(asked or {})})
    command = [*prefix, sys.executable, "-m", "tests.integration.creators"]
    with ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=surroundings(),
                )
            )
            for _ in range(processes)
        ]
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        answers = [child.communicate for child in children]
        with ThreadPoolExecutor(processes) as pool:
            lines = [future.result()[0] for future in [pool.submit(ask, order, 100) for ask in answers]]
    return [Created(**found) for line in lines for found in json.loads(line)]


def _serve() -> None:
    from dev_postgres_mcp.app import build_app
    from dev_postgres_mcp.errors import DevPostgresError
    from dev_postgres_mcp.instances import build_spec
    from dev_postgres_mcp.settings import load_settings

    print("ready", flush=True)
    order = json.loads(sys.stdin.read())
    app = build_app(load_settings(order["settings"]).settings, session="tests", program="creators")

    def create(_: int) -> Created:
        started = time.monotonic()
        try:
            instance = app.manager.create(build_spec(app.defaults, **order["asked"]))
        except DevPostgresError as exc:
            return Created(seconds=time.monotonic() - started, error=exc.code, text=exc.explain())
        assert instance.conninfo is not None
        return Created(
            seconds=time.monotonic() - started,
            id=instance.id,
            container_id=instance.container_id,
            port=instance.endpoint.port,
            dsn=instance.conninfo.dsn(),
        )

    with ThreadPoolExecutor(order["each"]) as pool:
        print(json.dumps([asdict(created) for created in pool.map(create, range(order["each"]))]))
    app.close()


if __name__ == "__main__":
    _serve()
