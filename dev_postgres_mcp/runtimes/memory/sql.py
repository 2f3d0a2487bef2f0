"""The PostgreSQL of the in-memory double: logins, names and passwords are judged as a server would."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import InitFailed, LoginFailed
from dev_postgres_mcp.model import ServerFacts
from dev_postgres_mcp.runtimes.memory.world import MEGABYTE, SUPERUSER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo
    from dev_postgres_mcp.runtimes.base import Delivery
    from dev_postgres_mcp.runtimes.memory.world import Body, Cluster, MemoryWorld

_TEMPLATE = "template1"


class MemorySql:
    """`Sql` for the servers of a MemoryWorld."""

    def __init__(self, world: MemoryWorld) -> None:
        """Answer for the servers of `world`."""
        self._world = world

    def login(self, conninfo: Conninfo) -> float:
        """Check port, user, password and database."""
        with self._logged_in(conninfo):
            return 0.0

    def facts(self, conninfo: Conninfo) -> ServerFacts:
        """Return what such a server would say."""
        with self._logged_in(conninfo) as body:
            return ServerFacts(
                version=f"{body.container.version}.0",
                uptime=(datetime.now(UTC) - body.container.created_at).total_seconds(),
                connections=1,
                max_connections=200,
                database_size=7 * MEGABYTE,
                latency=0.0,
            )

    def create_extensions(self, conninfo: Conninfo, names: Sequence[str], *, deadline: Deadline) -> None:
        """Note the extensions; raises InitFailed for unknown ones."""
        deadline.check(f"creating extensions: {', '.join(names)}")
        with self._logged_in(conninfo) as body:
            for name in names:
                if name not in self._world.extensions:
                    raise InitFailed(
                        f"extension {name!r}: is not available", hint="see which extensions there are"
                    )
                there = body.cluster.databases[conninfo.database]
                body.cluster = body.cluster.with_database(conninfo.database, (*there, name))

    def adjust(
        self,
        conninfo: Conninfo,
        wanted: Conninfo,
        *,
        copy: bool = False,
        delivery: Delivery | None = None,
        deadline: Deadline,
    ) -> None:
        """Make the server that answers to `conninfo` answer to `wanted`; it runs no programs.  Raises InitFailed."""
        if delivery is not None:
            raise InitFailed("there is no shell beside a server in memory")
        deadline.check("giving the server its database, user and password")
        with self._logged_in(conninfo.on(database=_TEMPLATE)) as body:
            cluster = _change_database(body.cluster, conninfo.database, wanted.database, copy=copy)
            body.cluster = replace(cluster, username=wanted.username, password=wanted.password)

    def checkpoint(self, conninfo: Conninfo, *, deadline: Deadline) -> None:
        """Have the cluster as it is now in what a commit of the container would hold."""
        deadline.check("writing a checkpoint")
        with self._logged_in(conninfo.on(database=_TEMPLATE)) as body:
            body.written = body.cluster

    @contextmanager
    def _logged_in(self, conninfo: Conninfo) -> Iterator[Body]:
        """Yield the server at that port after a login; nobody else changes it meanwhile."""
        if not self._world.down:
            self._world.check_up()
        with self._world.lock:
            for body in self._world.bodies.values():
                if body.serving and body.container.endpoint == conninfo.endpoint:
                    _admit(body, conninfo)
                    yield body
                    return
        raise LoginFailed(f"connection to port {conninfo.endpoint.port} refused")


def _admit(body: Body, conninfo: Conninfo) -> None:
    if body.logins_until_ready > 0:
        body.logins_until_ready -= 1
        raise LoginFailed("the database system is starting up")
    known = body.cluster
    if known.password is None or (conninfo.username, conninfo.password) != (known.username, known.password):
        raise LoginFailed(f"password authentication failed for user {conninfo.username!r}")
    if conninfo.database not in known.databases:
        raise LoginFailed(f"database {conninfo.database!r} does not exist")
    body.last_used = datetime.now(UTC)


def _change_database(cluster: Cluster, old: str, new: str, *, copy: bool) -> Cluster:
    """Rename a database, except `postgres`, beside which a new one is made."""
    if new in {old, SUPERUSER, _TEMPLATE}:
        return cluster
    if new in cluster.databases:
        raise InitFailed(f"database {new!r}: database {new!r} already exists")
    content = cluster.databases.get(old)
    if content is None:
        raise InitFailed(f"database {new!r}: database {old!r} does not exist")
    if old == SUPERUSER:
        return cluster.with_database(new, content if copy else ())
    return cluster.without_database(old).with_database(new, content)
