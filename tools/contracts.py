"""Writes docs/contracts/tools.json: `tools/list` as every client sees it, so that a change of it shows in review.

`--check` writes nothing and exits with 1 when the file is not what the server would answer.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio
from mcp import Client

from dev_postgres_mcp.app import assemble_app
from dev_postgres_mcp.model import Owner
from dev_postgres_mcp.runtimes.memory import MemoryRuntime, MemorySql, MemoryWorld
from dev_postgres_mcp.server import Session, Workers, build_server
from dev_postgres_mcp.settings import Settings

CONTRACT = Path(__file__).parent.parent / "docs" / "contracts" / "tools.json"


def main(arguments: list[str]) -> int:
    """Write or check the contract and return the exit code."""
    text = anyio.run(render_tools)
    if arguments == ["--check"]:
        if CONTRACT.is_file() and CONTRACT.read_text(encoding="utf-8") == text:
            return 0
        print(f"{CONTRACT.name} is not what the server lists: `make contracts` renews it", file=sys.stderr)
        return 1
    if arguments:
        print("usage: contracts.py [--check]", file=sys.stderr)
        return 2
    CONTRACT.parent.mkdir(parents=True, exist_ok=True)
    CONTRACT.write_text(text, encoding="utf-8", newline="\n")
    return 0


async def render_tools() -> str:
    """Return the listed tools as JSON: tools in the server's order, keys sorted."""
    settings, world = Settings(), MemoryWorld()
    app = assemble_app(
        settings, runtime=MemoryRuntime(world, settings.port_range), sql=MemorySql(world), owner=Owner()
    )
    async with Client(build_server(app, Workers(), Session(app))) as client:
        tools = (await client.list_tools()).tools
    listed = [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]
    return json.dumps({"tools": listed}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
