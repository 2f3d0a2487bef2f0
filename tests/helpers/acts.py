"""What many tests do first, on any stage."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import InstanceNotFound, LoginFailed
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.instances.launches import plan_launch
from dev_postgres_mcp.instances.specs import build_branch_spec
from dev_postgres_mcp.runtimes.base import Freeze, Kind, Role
from tests.helpers.stages import an_hour_from_now, build_launch, patience

if TYPE_CHECKING:
    from datetime import datetime

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Conninfo, Instance
    from dev_postgres_mcp.runtimes.base import Container, Launch, Runtime, State, StoredImage
    from tests.helpers.stages import Stage


def start(stage: Stage, runtime: Runtime, **asked: object) -> Container:
    """Start a container on the plain image; it may not be ready yet."""
    return runtime.start(build_launch(stage, runtime, **asked), deadline=patience())


def start_prepared(stage: Stage, runtime: Runtime, **changes: Any) -> Container:
    """Start a container on a prepared image and return it when it answers; `changes` are of its launch."""
    launch = prepared_launch(stage, runtime, **changes)
    container = runtime.start(launch, deadline=patience())
    wait_for_login(stage, launch.record.conninfo(container.endpoint))
    return container


def start_spare(stage: Stage, runtime: Runtime, until: datetime | None = None) -> Container:
    """Start a spare and return it when it answers."""
    return start_prepared(stage, runtime, role=Role.SPARE, spare_until=until or an_hour_from_now())


def offer_spare(stage: Stage, program: App) -> Container:
    """Start a spare of a program's default spec as its pool would, on however full an engine."""
    spec = build_spec(program.defaults)
    base = program.runtime.find_image(spec.image)
    assert base is not None
    image = program.runtime.prepare(base, progress=lambda _: None, deadline=patience())
    launch = replace(
        plan_launch(spec, image, patience=60.0),
        role=Role.WARMING,
        maker=stage.session,
        spare_until=an_hour_from_now(),
    )
    container = program.runtime.start(launch, deadline=patience())
    wait_for_login(stage, launch.record.conninfo(container.endpoint))
    return program.runtime.offer(container, deadline=patience())


def prepared_launch(stage: Stage, runtime: Runtime, **changes: Any) -> Launch:
    """Return a launch of the stage's prepared image."""
    launch = build_launch(stage, runtime)
    image = runtime.prepare(launch.image, progress=lambda _: None, deadline=patience())
    return replace(launch, **{"image": image, **changes})


def freeze(stage: Stage, runtime: Runtime, container: Container, name: str, **changes: Any) -> StoredImage:
    """Freeze a container as the manager does: after a checkpoint, under a name that is its key too."""
    record = read_state(runtime, container).record
    stage.sql.checkpoint(record.conninfo(container.endpoint), deadline=patience())
    given: dict[str, Any] = {
        "kind": Kind.SNAPSHOT,
        "key": name,
        "name": name,
        "expires_at": None,
        "database": record.database,
        "username": record.username,
    }
    return runtime.freeze(container, Freeze(**(given | changes)), deadline=patience())


def read_state(runtime: Runtime, container: Container) -> State:
    """Return what lies beside a server, as soon as it is there."""
    deadline = Deadline(30)
    while (state := runtime.read_state(container)) is None:
        deadline.check("waiting for what lies beside a server")
        deadline.sleep(0.02)
    return state


def wait_for_login(stage: Stage, conninfo: Conninfo) -> None:
    """Return when a login works."""
    deadline = Deadline(60)
    while True:
        try:
            stage.sql.login(conninfo)
        except LoginFailed:
            deadline.check("waiting for a login")
            deadline.sleep(0.02)
        else:
            return


def add_database(stage: Stage, conninfo: Conninfo, name: str) -> None:
    """Change a server's data in a way that every runtime knows."""
    beside = conninfo.on(database="postgres")
    stage.sql.adjust(beside, beside.on(database=name), deadline=patience())


def has_database(stage: Stage, conninfo: Conninfo, name: str) -> bool:
    """Tell whether `add_database` was called on this server, or on what it was made from."""
    try:
        stage.sql.login(conninfo.on(database=name))
    except LoginFailed:
        return False
    return True


def is_gone(runtime: Runtime, container: Container) -> bool:
    """Tell whether a container is gone."""
    try:
        runtime.inspect(container.container_id)
    except InstanceNotFound:
        return True
    return False


def create(program: App, **asked: object) -> Instance:
    """Create an instance; `asked` goes to `build_spec`."""
    return program.manager.create(build_spec(program.defaults, **asked))  # type: ignore[arg-type]  # as a test asks


def branch(program: App, source: str, **asked: object) -> Instance:
    """Create a branch; `asked` goes to `build_branch_spec`."""
    return program.snapshots.branch(source, build_branch_spec(program.defaults, **asked))  # type: ignore[arg-type]  # as above


def conninfo_of(instance: Instance) -> Conninfo:
    """Return how to connect to an instance whose record can be read."""
    assert instance.conninfo is not None
    return instance.conninfo
