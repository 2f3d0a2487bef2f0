"""Writes the catalogues that the guard carries, from servers of its own on the embedded runtime.

    tools/catalogues.py VERSION...    such as 15 16 17 18; as many as there are programs for

Each server gets every extension that comes with PostgreSQL's programs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path

from dev_postgres_mcp.app import build_app
from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import DevPostgresError
from dev_postgres_mcp.guard.catalogue import Catalogue
from dev_postgres_mcp.guard.packaged import FILE, pack
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.model import Conninfo
from dev_postgres_mcp.settings import load_settings
from dev_postgres_mcp.sql.catalogue import PsycopgCatalogueSql

HEAD = """\
# What PostgreSQL knows by name: versions, kind, schema (or * and the extension), object, volatility or type's kind.
# `=` marks an argument with a default, `*` a variadic one.  Written by tools/catalogues.py; not by hand.
"""
EXTENSIONS = (
    "adminpack amcheck bloom btree_gin btree_gist citext cube dblink dict_int dict_xsyn earthdistance file_fdw"
    " fuzzystrmatch hstore intagg intarray isn lo ltree old_snapshot pageinspect pg_buffercache pg_freespacemap"
    " pg_logicalinspect pg_prewarm pg_stat_statements pg_surgery pg_trgm pg_visibility pg_walinspect pgcrypto"
    " pgrowlocks pgstattuple postgres_fdw seg sslinfo tablefunc tsm_system_rows tsm_system_time unaccent uuid-ossp"
    " vector xml2"
)


def main(versions: list[str]) -> int:
    """Read one server of each version and write the file."""
    if not versions:
        print(__doc__)
        return 2
    target = Path(__file__).parent.parent / "dev_postgres_mcp" / "guard" / FILE
    catalogues = [read(version) for version in versions]
    target.write_text(HEAD + "".join(f"{line}\n" for line in pack(catalogues)), encoding="utf-8")
    print(f"{target.name}: {', '.join(versions)}, {target.stat().st_size} bytes")
    return 0


def read(version: str) -> Catalogue:
    """Return the catalogue of a new server with all extensions."""
    with server(version) as conninfo:
        return PsycopgCatalogueSql().read(conninfo, deadline=Deadline(inf))


@contextmanager
def server(version: str) -> Iterator[Conninfo]:
    """Yield the way into a new server with what extensions it can have."""
    app = build_app(
        load_settings({"runtime": "embedded"}).settings, session="catalogues", program="catalogues"
    )
    instance = app.manager.create(build_spec(app.defaults, version=version, ttl="10m"))
    try:
        conninfo = instance.conninfo
        if conninfo is None:
            raise SystemExit(f"{version}: {instance.status}")
        for name in EXTENSIONS.split():
            try:
                app.sql.create_extensions(conninfo, (name,), deadline=Deadline(inf))
            except DevPostgresError as exc:
                print(f"{version}: {exc.message}")
        yield conninfo
    finally:
        app.manager.drop([instance.id])
        app.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
