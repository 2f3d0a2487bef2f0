"""From the wish to the first answered query, and the drop: ours in three forms, beside three other ways."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
from anyio.from_thread import start_blocking_portal
from mcp import Client as McpClient
from mcp import StdioServerParameters

from benchmarks.ground import (
    MARK,
    OFFICIAL,
    create,
    dropping,
    find_command,
    query,
    query_dsn,
    wait_spare,
)
from benchmarks.measuring import Row, Target, clock, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.ground import Client, Ground
    from benchmarks.measuring import Plan, Sample
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance

ROUNDS = 21
SUBJECTS = ("create to first query", "drop")
WARM, COLD, INIT = (
    "warm: a spare, over MCP on stdio",
    "cold: a prepared image",
    "cold: the image's own first start",
)
TESTCONTAINERS, DOCKER_RUN = "testcontainers", "docker run + login loop"
FLOOR = "floor: an instance's container, `sleep` in it"
_POLL_SECONDS = 0.01
_PATIENCE = 60.0
_PASSWORD = "of-a-throwaway-server"  # noqa: S105 - and of nothing else


def measure(ground: Ground, plan: Plan) -> list[Row]:
    """Run all of them alternately on copies of one image."""
    warm, cold = ground.client(), ground.client()
    app, plain = ground.open(cold), ground.open(cold, prepared=False)
    watcher = ground.open(warm)
    model = create(app)  # stays: nobody who tidies the engine removes an image that is in use
    floor = Floor(ground, learn_configuration(ground, model))
    with dropping(app, model), _serving(warm) as call:
        taken = take_turns(
            {
                WARM: lambda: _over_mcp(call, watcher),
                COLD: lambda: _in_process(app),
                INIT: lambda: _in_process(plain),
                TESTCONTAINERS: _testcontainers,
                DOCKER_RUN: lambda: _docker_run(ground),
                FLOOR: floor,
            },
            plan.choose_rounds(ROUNDS),
        )
    rows = []
    for subject in SUBJECTS:
        made: dict[str, Row] = {}
        for name in reversed(taken):  # what others are compared with comes first
            beside = made.get(FLOOR if name == COLD else TESTCONTAINERS)
            targets = tuple(_targets(subject, name, made))
            made[name] = Row(
                subject=subject,
                what=name,
                short="the floor" if name == FLOOR else "",
                values=taken[name][subject],
                beside=beside,
                targets=targets,
            )
        rows += [made[name] for name in taken]
    return rows


def _targets(subject: str, name: str, made: dict[str, Row]) -> Iterator[Target]:
    if subject == "drop" and name in {WARM, COLD}:
        yield Target(at_most=0.3)
    elif subject != "drop" and name == WARM:
        yield Target(at_most=0.05)
        yield Target(at_most=0.04, of=made[TESTCONTAINERS])
    elif subject != "drop" and name == COLD:
        yield Target(at_most=1.4, of=made[FLOOR])


def _sample(created: float, dropped: float) -> Sample:
    return dict(zip(SUBJECTS, (created, dropped), strict=True))


def _in_process(app: App) -> Sample:
    started = time.perf_counter()
    instance = create(app)
    query(instance)
    created = time.perf_counter() - started
    return _sample(created, clock(lambda: app.manager.drop([instance.id])))


def _over_mcp(call: Callable[..., dict[str, Any]], watcher: App) -> Sample:
    """Take a spare through the server that keeps it, drop it there, and wait for the next one.

    That wait is the end of the turn too: no other contender runs beside the making of a spare.
    """
    wait_spare(watcher)
    started = time.perf_counter()
    instance = call("create_postgres_instance")
    query_dsn(instance["dsn"])
    created = time.perf_counter() - started
    dropped = clock(lambda: call("drop_postgres_instance", id=instance["id"]))
    wait_spare(watcher)
    return _sample(created, dropped)


def _testcontainers() -> Sample:
    # Its reaper is a second image, which is not what is compared.
    os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
    from testcontainers.community.postgres import PostgresContainer

    started = time.perf_counter()
    container = PostgresContainer(OFFICIAL, driver=None)
    try:
        container.start()
        query_dsn(container.get_connection_url())
        created = time.perf_counter() - started
    finally:
        dropped = clock(container.stop)
    return _sample(created, dropped)


def _docker_run(ground: Ground) -> Sample:
    """Do what a script does: run the image, ask for the port, log in until it works."""
    label, password = f"{MARK}={ground.session}", f"POSTGRES_PASSWORD={_PASSWORD}"
    started = time.perf_counter()
    name = _docker("run", "-d", "--label", label, "-e", password, "-p", "127.0.0.1::5432", OFFICIAL)
    try:
        address = _docker("port", name, "5432/tcp").splitlines()[0]
        _wait_login(f"postgresql://postgres:{_PASSWORD}@{address}/postgres", started + _PATIENCE)
        created = time.perf_counter() - started
    finally:
        dropped = clock(lambda: _docker("rm", "--force", "--volumes", name))
    return _sample(created, dropped)


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def _wait_login(dsn: str, end: float) -> None:
    while True:
        try:
            query_dsn(dsn)
        except psycopg.OperationalError:
            assert time.perf_counter() < end, "no login"
            time.sleep(_POLL_SECONDS)
        else:
            return


@dataclass(frozen=True)
class Floor:
    """Creates, starts and removes a container that is configured as an instance's is, and runs `sleep`."""

    ground: Ground
    configuration: dict[str, Any]

    def __call__(self) -> Sample:
        """Return what no create and no drop of a container can be quicker than."""
        started = time.perf_counter()
        container = self.start()
        created = time.perf_counter() - started
        return _sample(created, clock(lambda: self.remove(container)))

    def start(self) -> str:
        """Create and start one, and return its id."""
        api = self.ground.api
        answer = api.create_container_from_config(self.configuration)  # type: ignore[no-untyped-call]  # in the stubs
        api.start(answer["Id"])
        return str(answer["Id"])

    def remove(self, container: str) -> None:
        """Remove one."""
        self.ground.api.remove_container(container, v=True, force=True)


def learn_configuration(ground: Ground, instance: Instance) -> dict[str, Any]:
    """Return an instance's own configuration, with another program and a port that the engine chooses."""
    details = ground.api.inspect_container(instance.container_id)
    config, host = details["Config"], dict(details["HostConfig"])
    host["PortBindings"] = {
        port: [{**binding, "HostPort": ""} for binding in bindings]
        for port, bindings in host["PortBindings"].items()
    }
    networks = {
        network["NetworkID"]: {"NetworkID": network["NetworkID"]}
        for network in details["NetworkSettings"]["Networks"].values()
    }
    return {
        "Image": details["Image"],
        "Entrypoint": ["sleep", "600"],
        "Cmd": [],
        "User": config["User"],
        "Env": config["Env"],
        "ExposedPorts": config["ExposedPorts"],
        "Labels": ground.mark,
        "HostConfig": host,
        "NetworkingConfig": {"EndpointsConfig": networks},
    }


@contextmanager
def _serving(client: Client) -> Iterator[Callable[..., dict[str, Any]]]:
    """Yield a way to call tools of a server that was started as an MCP host starts it."""
    command, *arguments = [*find_command(), "mcp", "serve"]
    server = StdioServerParameters(command=command, args=arguments, env=client.environment())

    async def ask(mcp: McpClient, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        result = await mcp.call_tool(tool, arguments)
        assert not result.is_error, result.content
        return dict(result.structured_content or {})

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(McpClient(server)) as mcp,
    ):
        yield lambda tool, **arguments: portal.call(partial(ask, mcp, tool, arguments))
