"""The tools on instances: what a model may ask, in words that a model reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mcp.server.mcpserver import Context

from dev_postgres_mcp import __version__
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.model import Secret
from dev_postgres_mcp.server.parameters import (
    Cpus,
    Database,
    Extensions,
    IdleTimeout,
    Image,
    Init,
    InstanceRef,
    Labels,
    Memory,
    Name,
    Password,
    Seed,
    Settings,
    Ttl,
    Username,
    Version,
)
from dev_postgres_mcp.server.protocol import LOOKS, StrictServer, strict_tool
from dev_postgres_mcp.server.snapshots import snapshot_tools
from dev_postgres_mcp.server.workers import ProgressReporter, Workers
from dev_postgres_mcp.views.instances import (
    DropView,
    HealthView,
    InstanceListView,
    InstanceView,
    view_drops,
    view_health,
    view_instance,
    view_list,
)

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.server.session import Session

INSTRUCTIONS = """\
Throwaway PostgreSQL servers, each in a container of its own, with superuser: safe to break.
1. create_postgres_instance returns a dsn as soon as the server accepts logins: milliseconds from the warm pool, half \
a second without, longer when an image has to be pulled. Connect with that dsn from any client or language.
2. An instance ends by itself at expires_at, or after idle_timeout seconds without a client: \
extend_postgres_instance moves that, drop_postgres_instance ends it now. Nothing in it survives.
3. Before something risky: take_postgres_snapshot, then restore_postgres_instance puts the same dsn back to it; \
branch_postgres_instance gives a copy of its own to try things on; rehearse_migration runs SQL on such a copy and \
tells what it changes, locks and rewrites.
4. list_postgres_instances shows every instance on this engine, other people's and sessions' too: `owner` says whose. \
Drop only what you created, or what the user named.
Ids may be abbreviated to any unique prefix. When a call fails, its text says what to do next."""


def build_server(app: App, workers: Workers, session: Session) -> StrictServer:
    """Return the MCP server over `app`; it touches no engine before a tool is called."""
    tools = InstanceTools(app, workers, session)
    return StrictServer(
        "dev-postgres-mcp",
        title="Throwaway PostgreSQL",
        version=__version__,
        instructions=INSTRUCTIONS,
        tools=[
            strict_tool(
                tools.create_postgres_instance,
                title="Create a PostgreSQL instance",
                read_only_hint=False,
                destructive_hint=False,
                idempotent_hint=False,
                open_world_hint=False,
            ),
            strict_tool(
                tools.list_postgres_instances,
                title="List PostgreSQL instances",
                **LOOKS,
            ),
            strict_tool(
                tools.get_postgres_instance,
                title="Get a PostgreSQL instance",
                **LOOKS,
            ),
            strict_tool(
                tools.drop_postgres_instance,
                title="Drop a PostgreSQL instance",
                read_only_hint=False,
                destructive_hint=True,
                idempotent_hint=True,
                open_world_hint=False,
            ),
            strict_tool(
                tools.health_check_postgres,
                title="Check a PostgreSQL instance",
                **LOOKS,
            ),
            strict_tool(
                tools.extend_postgres_instance,
                title="Extend a PostgreSQL instance",
                read_only_hint=False,
                destructive_hint=False,
                idempotent_hint=False,
                open_world_hint=False,
            ),
            *snapshot_tools(app, workers, session),
        ],
        log_level=app.settings.log_level.upper(),  # type: ignore[arg-type]  # the SDK spells them in capitals
    )


class InstanceTools:
    """The tools as methods: their docstrings and annotations are what the model reads."""

    def __init__(self, app: App, workers: Workers, session: Session) -> None:
        """Call the verbs of `app` on `workers`; what is made is `session`'s."""
        self._app = app
        self._workers = workers
        self._session = session

    async def create_postgres_instance(
        self,
        ctx: Context[None],
        version: Version = None,
        image: Image = None,
        name: Name = None,
        database: Database = None,
        username: Username = None,
        password: Password = None,
        memory: Memory = None,
        cpus: Cpus = None,
        extensions: Extensions = [],  # noqa: B006 - never changed; pydantic copies it
        settings: Settings = {},  # noqa: B006 - as above
        init: Init = None,
        seed: Seed = None,
        ttl: Ttl = None,
        idle_timeout: IdleTimeout = None,
        labels: Labels = {},  # noqa: B006 - as above
    ) -> InstanceView:
        """Create a throwaway PostgreSQL server and wait until it accepts logins.

        Returns id, host, port, database, username, password, dsn and expires_at. On failure nothing is left behind.
        """
        report = ProgressReporter(ctx)
        instance = await self._workers.run(
            lambda deadline: self._session.adopt(
                self._app.manager.create(
                    build_spec(
                        self._app.defaults,
                        version=version,
                        image=image,
                        name=name,
                        database=database,
                        username=username,
                        password=Secret(password) if password is not None else None,
                        memory=memory,
                        cpus=cpus,
                        labels=labels,
                        extensions=extensions,
                        settings=settings,
                        init=Path(init) if init is not None else None,
                        seed=seed,
                        ttl=ttl,
                        idle_timeout=idle_timeout,
                    ),
                    progress=report,
                    deadline=deadline,
                )
            ),
            undoable=True,
        )
        return view_instance(instance)

    async def list_postgres_instances(self) -> InstanceListView:
        """List every instance on this engine, oldest first, without passwords, and the memory given out.

        Returns instances with id, name, status, port and owner. get_postgres_instance returns a password.
        """
        return view_list(await self._workers.run(lambda _: self._app.manager.list()))

    async def get_postgres_instance(self, id: InstanceRef) -> InstanceView:  # noqa: A002 - the wire's word
        """Get one instance with its password and dsn, as it stands now.

        Returns the same fields as create; status `exited` comes with exit code and last log lines.
        """
        return view_instance(await self._workers.run(lambda _: self._app.manager.get(id)))

    async def extend_postgres_instance(
        self,
        id: InstanceRef,  # noqa: A002 - the wire's word
        ttl: Ttl = None,
        idle_timeout: IdleTimeout = None,
    ) -> InstanceView:
        """Let an instance live until `ttl` from now, or change after how much idle time it ends.

        What is left out stays as it is. Returns the same fields as get, with the new expires_at.
        """
        return view_instance(
            await self._workers.run(
                lambda deadline: self._app.manager.extend(
                    id, ttl=ttl, idle_timeout=idle_timeout, deadline=deadline
                )
            )
        )

    async def drop_postgres_instance(self, id: InstanceRef) -> DropView:  # noqa: A002 - the wire's word
        """Drop an instance: server, data and container are gone for good, open connections end.

        Returns outcome `dropped`, or `already_gone` when nothing answers to the id: both are success.
        """
        drops = await self._workers.run(lambda _: self._app.manager.drop([id]), undoable=True)
        self._session.forget(drops[0].id)
        return view_drops(drops).results[0]

    async def health_check_postgres(self, id: InstanceRef) -> HealthView:  # noqa: A002 - the wire's word
        """Check an instance by a login and a query over TCP.

        Returns latency, server version, uptime, connections, sizes and memory; of a dead server exit code, last
        log lines and a hint.
        """
        return view_health(await self._workers.run(lambda _: self._app.manager.health_check(id)))
