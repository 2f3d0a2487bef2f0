"""The main job, visibly: an MCP client starts our server, creates a PostgreSQL, works in it and drops it."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import anyio
import psycopg
from mcp import Client, StdioServerParameters
from rich.console import Console
from rich.text import Text

from dev_postgres_mcp.settings import child_environment

LABELS = {"demo": secrets.token_hex(8)}  # on all that this run makes: by it we see whether anything is left
console = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Run the demo; return 0 when all worked and nothing is left, 130 after Ctrl-C, else 1."""
    began = time.perf_counter()
    code, title, outcome = 0, "done", "nothing is left"
    try:
        anyio.run(demonstrate)
    except KeyboardInterrupt:
        code, title, outcome = 130, "interrupted", "what was made is dropped"
    except Exception as exc:  # noqa: BLE001 - whatever it was: the demo failed, and says so in one line
        code, title, outcome = 1, "failed", describe(exc)
    write(time.perf_counter() - began, title, outcome, style="red" if code else "green")
    return code


async def demonstrate() -> None:
    """Open a session and do the main job in it; drop what it made, whatever happens."""
    arguments = ["-m", "dev_postgres_mcp", "mcp", "serve"]
    server = StdioServerParameters(command=sys.executable, args=arguments, env=child_environment({}))
    async with AsyncExitStack() as stack:
        with step("start the MCP server") as say:
            client = await stack.enter_async_context(Client(server))
            say(f"{len((await client.list_tools()).tools)} tools over MCP {client.protocol_version}")
        stack.push_async_callback(put_away, client)
        await work(client)


async def work(client: Client) -> None:
    """Create an instance, use it as any program would, and look at it."""
    with step("create_postgres_instance") as say:
        instance = await call(client, "create_postgres_instance", labels=LABELS)
        address = f"{instance['host']}:{instance['port']}"
        say(f"PostgreSQL {instance['version']} is ready on {address} ({instance['runtime']})")
    with step("connect with psycopg") as say:
        connection = psycopg.connect(instance["dsn"], autocommit=True)
        say(f"logged in as {connection.info.user}")
    with connection, connection.cursor() as cursor:
        with step("create a table") as say:
            cursor.execute("CREATE TABLE fruit (name text PRIMARY KEY, price numeric NOT NULL)")
            say("fruit (name, price)")
        with step("insert") as say:
            cursor.execute("INSERT INTO fruit VALUES ('apple', 0.40), ('mango', 1.90), ('melon', 3.20)")
            say(f"{cursor.rowcount} rows")
        with step("query") as say:
            cursor.execute("SELECT format('%s at %s', name, price) FROM fruit ORDER BY price DESC LIMIT 1")
            say(f"the dearest: {' '.join(cursor.fetchone() or ())}")
    with step("health_check_postgres") as say:
        health = await call(client, "health_check_postgres", id=instance["id"])
        say("healthy, a login takes {:.1f} ms".format(1000 * health["latency_seconds"]))
    with step("list_postgres_instances") as say:
        say("; ".join(f"{found['name']} {found['status']}" for found in await ours(client)))


async def put_away(client: Client) -> None:
    """Drop what carries this run's label, and make sure that it is gone."""
    with anyio.CancelScope(shield=True):
        for instance in await ours(client):
            with step("drop_postgres_instance") as say:
                say((await call(client, "drop_postgres_instance", id=instance["id"]))["outcome"])
        if left := await ours(client):
            raise RuntimeError(f"still there: {', '.join(instance['id'] for instance in left)}")


async def ours(client: Client) -> list[dict[str, Any]]:
    """Return the listed instances that this run has made."""
    listing = await call(client, "list_postgres_instances")
    return [instance for instance in listing["instances"] if instance["labels"] == LABELS]


async def call(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
    """Return what a tool answers; raise what it refuses."""
    result = await client.call_tool(tool, arguments)
    if result.is_error:
        raise RuntimeError(" ".join(getattr(part, "text", "") for part in result.content))
    return dict(result.structured_content or {})


@contextmanager
def step(title: str) -> Iterator[Callable[[str], None]]:
    """Time a step and write its line; the block says what came of it."""
    said: list[str] = []
    start = time.perf_counter()
    yield said.append
    write(time.perf_counter() - start, title, " ".join(said))


def write(seconds: float, title: str, outcome: str, *, style: str = "green") -> None:
    """Write one aligned line: in colours on a terminal, plain elsewhere."""
    console.print(Text.assemble((f"{seconds:7.3f} s  ", "dim"), (f"{title:<26}", "bold"), (outcome, style)))


def describe(exc: BaseException) -> str:
    """Return what went wrong first: a task group wraps it."""
    return describe(exc.exceptions[0]) if isinstance(exc, BaseExceptionGroup) else f"{exc}"


if __name__ == "__main__":
    sys.exit(main())
