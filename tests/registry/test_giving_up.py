"""A pull that takes too long, or that nobody waits for any more, ends soon and leaves nothing."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import Cancelled, DeadlineExceeded, RegistryUnreachable
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.model import Status
from tests.helpers.stages import build_app, owned
from tests.registry.conftest import LAYER_BYTES
from tests.registry.proxy import Script

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App
    from tests.helpers.stages import DockerStage
    from tests.registry.proxy import Proxy

pytestmark = [pytest.mark.docker, pytest.mark.alone]

STALLED = Script(stall_after=LAYER_BYTES // 2)
TRICKLE = Script(pause=0.5)
"""Half a minute for a layer.  Engine 20.10 cannot leave a download in which nothing moves at all."""
ENOUGH = 10.0


def test_a_stalled_registry_ends_at_the_pull_timeout(
    docker_stage: DockerStage, absent: str, proxy: Proxy
) -> None:
    app = build_app(docker_stage, pull_timeout=1.5)
    proxy.script = STALLED
    start = time.monotonic()

    with pytest.raises(DeadlineExceeded) as caught:
        app.manager.create(build_spec(app.defaults, image=absent))

    assert 1.5 <= time.monotonic() - start < 2.5
    assert proxy.stalled.is_set()
    assert f"pulling {absent}" in caught.value.message
    assert "pull_timeout" in caught.value.hint
    assert owned(docker_stage, app.runtime) == ()
    assert app.runtime.find_image(absent) is None


def cancel_in_mid_pull(app: App, image: str, proxy: Proxy) -> float:
    """Return the seconds from a cancel in the middle of a layer to the end of the create."""
    deadline = Deadline(60)
    cancelled_at: list[float] = []

    def cancel() -> None:
        proxy.flowing.wait(ENOUGH)
        cancelled_at.append(time.monotonic())
        deadline.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(Cancelled, match="while pulling"):
        app.manager.create(build_spec(app.defaults, image=image), deadline=deadline)
    end = time.monotonic()
    canceller.join()
    assert proxy.flowing.is_set()
    return end - cancelled_at[0]


def test_a_cancel_in_mid_pull_returns_at_once_and_leaves_no_container(
    docker_app: App, docker_stage: DockerStage, absent: str, proxy: Proxy
) -> None:
    proxy.script = TRICKLE

    assert cancel_in_mid_pull(docker_app, absent, proxy) < 1

    assert owned(docker_stage, docker_app.runtime) == ()
    assert docker_app.runtime.find_image(absent) is None


def test_a_cancelled_create_also_ends_the_pull_of_the_engine(
    docker_app: App, absent: str, proxy: Proxy
) -> None:
    proxy.script = TRICKLE

    cancel_in_mid_pull(docker_app, absent, proxy)

    assert proxy.hung_up.wait(3), "the engine goes on with a pull that nobody waits for"


def test_the_next_create_does_not_wait_for_a_pull_that_was_given_up(
    docker_app: App, absent: str, proxy: Proxy
) -> None:
    proxy.script = TRICKLE
    cancel_in_mid_pull(docker_app, absent, proxy)
    proxy.script = Script()
    start = time.monotonic()

    instance = docker_app.manager.create(build_spec(docker_app.defaults, image=absent), deadline=Deadline(15))

    assert instance.status is Status.READY
    assert time.monotonic() - start < ENOUGH


def test_an_engine_that_answers_nothing_in_time_is_no_reason_to_wait(
    docker_stage: DockerStage, undelivered: str, proxy: Proxy
) -> None:
    app = build_app(docker_stage, pull_timeout=1.0)
    proxy.script = Script(stall_answers=True)
    start = time.monotonic()

    with pytest.raises((DeadlineExceeded, RegistryUnreachable)):
        app.manager.create(build_spec(app.defaults, image=undelivered))

    assert time.monotonic() - start < 2
