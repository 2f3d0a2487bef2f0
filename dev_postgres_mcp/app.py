"""The composition root: the only place that picks adapters and hands them to the verbs."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import EngineUnavailable
from dev_postgres_mcp.instances import Defaults, InstanceManager, Policy, build_spec
from dev_postgres_mcp.instances.creation import Creator
from dev_postgres_mcp.instances.observation import Observer
from dev_postgres_mcp.instances.quota import Quota
from dev_postgres_mcp.model import Limits, Owner, Secret
from dev_postgres_mcp.runtimes.docker import DockerEnvironment, DockerOptions, DockerRuntime
from dev_postgres_mcp.settings import child_environment, hide_from_libpq, read_surroundings
from dev_postgres_mcp.sql.on_demand import SqlOnDemand

if TYPE_CHECKING:
    from dev_postgres_mcp.databases.checking import Checker
    from dev_postgres_mcp.databases.servers import Servers
    from dev_postgres_mcp.instances.diagnosis import Finding
    from dev_postgres_mcp.instances.images import PreparedImages
    from dev_postgres_mcp.instances.pool import Keeper, WarmPool
    from dev_postgres_mcp.instances.snapshots import Snapshots
    from dev_postgres_mcp.instances.sweeping import Sweeper
    from dev_postgres_mcp.instances.trials import Trials
    from dev_postgres_mcp.runtimes.base import Runtime
    from dev_postgres_mcp.runtimes.embedded.runtime import EmbeddedOptions
    from dev_postgres_mcp.settings import Settings, Surroundings
    from dev_postgres_mcp.sql.base import Sql
    from dev_postgres_mcp.sql.catalogue_base import CatalogueSql
    from dev_postgres_mcp.sql.script_base import ScriptSql


COMMAND_SWEEP_SECONDS = 60.0
SWEEP_PATIENCE = 2.0
"""Seconds: a person waits for the prompt meanwhile, and whoever sweeps next goes on with it."""


@dataclass(frozen=True, kw_only=True)
class App:
    """What a face works with.  A room that few commands enter is opened by the first who does."""

    manager: InstanceManager
    creator: Creator
    policy: Policy
    runtime: Runtime
    sql: Sql
    owner: Owner
    settings: Settings
    script_sql: ScriptSql | None = None
    catalogue_sql: CatalogueSql | None = None
    swept_file: Path | None = None
    locks: Path | None = None

    @property
    def quota(self) -> Quota:
        """The ceilings that a create keeps to."""
        return self.policy.quota

    @cached_property
    def defaults(self) -> Defaults:
        """What stands in for what a caller leaves out."""
        return build_defaults(self.settings, self.owner, self.runtime)

    @cached_property
    def snapshots(self) -> Snapshots:
        """Time travel."""
        from dev_postgres_mcp.instances.snapshots import Snapshots

        return Snapshots(self.runtime, self.sql, self.policy, manager=self.manager, creator=self.creator)

    @cached_property
    def images(self) -> PreparedImages:
        """The images that creates start from."""
        from dev_postgres_mcp.instances.images import PreparedImages

        return PreparedImages(self.runtime, self.policy, creator=self.creator)

    @cached_property
    def pool(self) -> WarmPool:
        """The spares that wait for anybody."""
        from dev_postgres_mcp.instances.pool import PoolRules, WarmPool

        rules = PoolRules(
            size=self.settings.pool_size,
            spare_ttl=self.settings.spare_ttl,
            memory_share=self.settings.pool_memory_share,
        )
        spec = partial(build_spec, self.defaults)
        return WarmPool(self.runtime, self.policy, creator=self.creator, spec=spec, rules=rules)

    @cached_property
    def sweeper(self) -> Sweeper:
        """Who removes what cannot end by itself."""
        from dev_postgres_mcp.instances.sweeping import Sweeper

        return Sweeper(self.runtime, self.policy)

    @cached_property
    def keeper(self) -> Keeper:
        """Who keeps the pool full while a server runs."""
        from dev_postgres_mcp.instances.pool import Keeper

        return Keeper(self.pool, self.creator, self.sweeper)

    @cached_property
    def trials(self) -> Trials:
        """Where migrations and commands are tried."""
        from dev_postgres_mcp.instances.trials import Trials
        from dev_postgres_mcp.sql.script_client import PsycopgScriptSql

        return Trials(self.manager, self.snapshots, self.script_sql or PsycopgScriptSql())

    @cached_property
    def servers(self) -> Servers:
        """The servers of test runs."""
        from dev_postgres_mcp.children import run_in_shell
        from dev_postgres_mcp.databases.building import Builder
        from dev_postgres_mcp.databases.servers import Servers, World
        from dev_postgres_mcp.databases.stock import Stock
        from dev_postgres_mcp.sql.database_client import PsycopgDatabaseSql
        from dev_postgres_mcp.sql.script_client import PsycopgScriptSql

        builder = Builder(
            self.script_sql or PsycopgScriptSql(),
            lambda command, variables, directory: run_in_shell(
                command, child_environment(variables), directory=directory
            ),
        )
        return Servers(
            World(
                manager=self.manager,
                creator=self.creator,
                stock=Stock(self.snapshots),
                builder=builder,
                sql=self.sql,
                databases=PsycopgDatabaseSql(hide_from_libpq),
                locks=self.locks or read_surroundings().state_directory / "locks",
                shield=hide_from_libpq,
            )
        )

    @cached_property
    def checker(self) -> Checker:
        """Who tells whether SQL may run in a database for a reader."""
        from dev_postgres_mcp.databases.checking import Checker
        from dev_postgres_mcp.sql.catalogue import PsycopgCatalogueSql

        return Checker(self.manager, self.catalogue_sql or PsycopgCatalogueSql())

    def diagnose(self) -> tuple[Finding, ...]:
        """Look at what a create with the defaults would meet."""
        from dev_postgres_mcp.instances.diagnosis import diagnose

        return diagnose(
            self.runtime,
            image=f"{self.defaults.repository}:{self.defaults.version}",
            ports=self.settings.port_range,
            quota=self.quota,
        )

    def sweep_if_due(self) -> None:
        """Sweep the engine quietly, at most once a minute on this machine."""
        file = self.swept_file
        if file is None:
            return
        with suppress(OSError):
            if file.exists() and time.time() - file.stat().st_mtime < COMMAND_SWEEP_SECONDS:
                return
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            from dev_postgres_mcp.instances.sweeping import sweep_quietly

            sweep_quietly(self.sweeper, deadline=Deadline(SWEEP_PATIENCE))

    def close(self) -> None:
        """Let go of the engine."""
        self.runtime.close()


def build_app(settings: Settings, *, session: str, program: str) -> App:
    """Return the program on the runtime that the settings name; `session` and `program` end up in owner labels.

    Touches no engine, save to see whether there is one when the settings leave that open.
    """
    surroundings = read_surroundings()
    runtime = choose_runtime(settings, surroundings)
    owner = Owner(
        session=settings.session or session,
        user=surroundings.user,
        cwd=surroundings.cwd,
        process=f"{surroundings.host}:{surroundings.pid} {program}",
    )
    app = assemble_app(settings, runtime=runtime, sql=SqlOnDemand(), owner=owner)
    state = surroundings.state_directory
    swept_file = state / _swept_name(runtime, settings, surroundings)
    return replace(app, swept_file=swept_file, locks=state / "locks")


def choose_runtime(settings: Settings, surroundings: Surroundings) -> Runtime:
    """Return Docker when it is named, or when it is left open and an engine answers; else local servers."""
    because = ""
    if settings.runtime != "embedded":
        docker = DockerRuntime(docker_options(settings, surroundings))
        if settings.runtime == "docker":
            return docker
        try:
            docker.reach()
        except EngineUnavailable as exc:
            because = exc.message
        else:
            return docker
    from dev_postgres_mcp.runtimes.embedded.runtime import EmbeddedRuntime

    return EmbeddedRuntime(replace(embedded_options(settings, surroundings), because=because))


def assemble_app(
    settings: Settings, *, runtime: Runtime, sql: Sql, owner: Owner, script_sql: ScriptSql | None = None
) -> App:
    """Return the program on any runtime; tests give it the in-memory one."""
    policy = Policy(
        quota=Quota(max_instances=settings.max_instances, max_memory=settings.max_total_memory),
        create_timeout=settings.create_timeout,
        pull_timeout=settings.pull_timeout,
        max_lifetime=settings.max_lifetime,
        max_snapshot_size=settings.max_snapshot_size,
        session=owner.session,
    )
    observer = Observer(runtime, sql)
    creator = Creator(runtime, sql, observer, policy)
    return App(
        manager=InstanceManager(runtime, sql, policy, observer=observer, creator=creator),
        creator=creator,
        policy=policy,
        runtime=runtime,
        sql=sql,
        owner=owner,
        settings=settings,
        script_sql=script_sql,
    )


def _swept_name(runtime: Runtime, settings: Settings, surroundings: Surroundings) -> str:
    """Return a file name that stands for the engine which these settings lead to."""
    docker = (surroundings.docker.get(name, "") for name in ("DOCKER_HOST", "DOCKER_CONTEXT"))
    engine = "\0".join((runtime.name, settings.docker_host, *docker))
    return f"swept-{sha256(engine.encode()).hexdigest()[:16]}"


def build_defaults(settings: Settings, owner: Owner, runtime: Runtime) -> Defaults:
    """Return what stands in for what a caller leaves out; a version that nobody has set is the runtime's choice."""
    chosen = "" if "version" in settings.model_fields_set else runtime.capabilities.default_version
    return Defaults(
        version=chosen or settings.version,
        repository=settings.image_repository,
        database=settings.database,
        username=settings.username,
        limits=Limits(memory=settings.memory, cpus=settings.cpus),
        ttl=settings.ttl,
        idle_timeout=settings.idle_timeout,
        owner=owner,
        password=Secret(settings.password.get_secret_value()) if settings.password else None,
    )


def docker_options(settings: Settings, surroundings: Surroundings) -> DockerOptions:
    """Return what the Docker runtime has to know of the settings and of what is around the process."""
    return DockerOptions(
        environment=_docker_environment(settings, surroundings),
        ports=settings.port_range,
        state_directory=surroundings.state_directory,
        publish_host=settings.publish_host,
    )


def embedded_options(settings: Settings, surroundings: Surroundings) -> EmbeddedOptions:
    """Return what the embedded runtime has to know of the settings and of what is around the process."""
    from dev_postgres_mcp.runtimes.embedded.runtime import EmbeddedOptions
    from dev_postgres_mcp.runtimes.embedded.storage import Storage

    return EmbeddedOptions(
        directory=surroundings.server_directory,
        ports=settings.port_range,
        programs=Path(settings.embedded_directory).expanduser() if settings.embedded_directory else None,
        storage=Storage(settings.embedded_storage),
    )


def _docker_environment(settings: Settings, surroundings: Surroundings) -> DockerEnvironment:
    docker = surroundings.docker
    config, certificates = docker.get("DOCKER_CONFIG"), docker.get("DOCKER_CERT_PATH")
    return DockerEnvironment(
        home=surroundings.home,
        docker_host=settings.docker_host,
        host=docker.get("DOCKER_HOST", ""),
        context=docker.get("DOCKER_CONTEXT", ""),
        config_dir=Path(config) if config else None,
        tls_verify=bool(docker.get("DOCKER_TLS_VERIFY")),
        cert_path=Path(certificates) if certificates else None,
        runtime_dir=surroundings.runtime_dir,
        windows=surroundings.windows,
    )
