"""A server with the corpus's database in it, and the ways in: as superuser and as reader."""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from dev_postgres_mcp.app import build_app
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.model import Conninfo, Secret
from dev_postgres_mcp.settings import load_settings
from dev_postgres_mcp.sql.splitting import parse_script

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dev_postgres_mcp.app import App


DATABASE = "app"
READER = "reader"
_SETTINGS = {"autovacuum": "off", "shared_buffers": "32MB"}
"""No transaction but those that are looked at."""
_LIMITS = """
ALTER ROLE reader PASSWORD 'reader' CONNECTION LIMIT 5;
ALTER ROLE reader SET temp_file_limit = '64MB';
ALTER ROLE reader SET default_transaction_read_only = on;
"""


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where the corpus's database is."""

    version: str
    admin: Conninfo
    reader: Conninfo


@contextmanager
def open_app() -> Iterator[App]:
    """Yield the program over the local servers of this machine."""
    settings = load_settings({"runtime": "embedded", "max_instances": 10_000}).settings
    with closing(build_app(settings, session="guard", program="guard")) as app:
        yield app


@contextmanager
def open_server(app: App, version: str, fixtures: Sequence[str], *, memory: str = "3g") -> Iterator[Server]:
    """Yield a new server of a version, with what the fixtures make; it is dropped afterwards."""
    spec = build_spec(app.defaults, version=version, settings=_SETTINGS, memory=memory, ttl="30m")
    instance = app.manager.create(spec)
    try:
        assert instance.conninfo is not None
        yield _furnish(version, instance.conninfo, fixtures)
    finally:
        app.manager.drop([instance.id])


def _furnish(version: str, conninfo: Conninfo, fixtures: Sequence[str]) -> Server:
    admin = conninfo.on(database=DATABASE)
    for fixture in fixtures:
        first, _, rest = fixture.rpartition(f"\\c {DATABASE}\n")
        _run(conninfo, first)
        _run(admin, rest)
    _run(admin, _LIMITS)
    reader = Conninfo(endpoint=admin.endpoint, database=DATABASE, username=READER, password=Secret(READER))
    return Server(version=version, admin=admin, reader=reader)


def _run(conninfo: Conninfo, script: str) -> None:
    statements = parse_script(script).statements
    if not statements:
        return
    with psycopg.connect(conninfo.dsn(), autocommit=True) as connection:
        for statement in statements:
            optional = statement.words[:2] == ("create", "extension")
            with suppress(*([psycopg.errors.FeatureNotSupported] if optional else [])):
                connection.execute(statement.text.encode())
