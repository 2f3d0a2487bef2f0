"""An image that is there is never pulled; one that is absent is, and says how far it has come."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from dev_postgres_mcp.errors import ImageUnauthorized
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.model import Outcome, Status
from tests.helpers.stages import build_app
from tests.registry.conftest import LAYER_BYTES, LAYERS
from tests.registry.proxy import CHUNK, Answer, Request, Script, refusal

if TYPE_CHECKING:
    from pathlib import Path

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance, Progress
    from tests.helpers.stages import DockerStage
    from tests.registry.conftest import Shelf
    from tests.registry.proxy import Proxy

pytestmark = pytest.mark.docker

SLOW = 0.01
"""Seconds a chunk of 64 KB: a layer then takes half a second or more."""
USER, PASSWORD = "reader", "s3cret-of-the-registry"
LOGIN = f"{USER}:{PASSWORD}"


def create(app: App, image: str, **arguments: Any) -> Instance:
    return app.manager.create(build_spec(app.defaults, image=image), **arguments)


def pulling(steps: list[Progress]) -> list[Progress]:
    return [step for step in steps if step.message.startswith("pulling ")]


def log_in(folder: Path, **logins: str) -> None:
    """Write what `docker login` writes: the password, in base64, for each registry."""
    auths = {name: {"auth": base64.b64encode(login.encode()).decode()} for name, login in logins.items()}
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": auths}))


def only_for(login: str, request: Request) -> Answer | None:
    """Answer as a registry whose images are for `login` only."""
    wanted = f"Basic {base64.b64encode(login.encode()).decode()}"
    if request.authorization == wanted:
        return None
    return refusal(401, "UNAUTHORIZED", "authentication required", WWW_Authenticate='Basic realm="shop"')


def test_an_image_that_is_there_is_never_pulled(
    docker_app: App, absent: str, proxy: Proxy, shelf: Shelf
) -> None:
    create(docker_app, absent)
    proxy.requests.clear()

    steps: list[Progress] = []
    instance = create(docker_app, absent, progress=steps.append)

    assert instance.status is Status.READY
    assert proxy.requests == []
    assert pulling(steps) == []


def test_an_absent_image_is_pulled_with_bytes_and_layers_and_its_instance_works(
    docker_app: App, absent: str, proxy: Proxy
) -> None:
    proxy.script = Script(pause=SLOW)
    steps: list[Progress] = []

    instance = create(docker_app, absent, progress=steps.append)

    pulled = pulling(steps)
    amounts = [step.done for step in pulled]
    assert len(set(amounts)) > 4
    assert amounts == sorted(amounts)
    assert amounts[-1] == pulled[-1].total >= LAYERS * LAYER_BYTES
    assert all(step.message.startswith(f"pulling {absent}: ") for step in pulled)
    finished, _, count, _ = pulled[-1].message.removeprefix(f"pulling {absent}: ").split()
    assert finished == count
    assert int(count) > LAYERS
    assert [step.message for step in steps[len(pulled) :]] == [
        f"preparing {absent} once",
        f"starting {absent}",
        "waiting for the first login",
    ]
    assert instance.image == absent
    assert docker_app.manager.health_check(instance.id).healthy
    assert [drop.outcome for drop in docker_app.manager.drop([instance.id])] == [Outcome.DROPPED]


def test_a_tag_that_looks_like_a_layer_counts_for_none(
    docker_app: App, docker_stage: DockerStage, proxy: Proxy, shelf: Shelf
) -> None:
    tag = shelf.publish(docker_stage.api, f"postgres:{docker_stage.version}", tag="8b4a0ada9d53")
    image = shelf.reference(proxy, tag)
    steps: list[Progress] = []

    create(docker_app, image, progress=steps.append)

    finished, _, count, _ = pulling(steps)[-1].message.removeprefix(f"pulling {image}: ").split()
    assert finished == count


def test_a_pull_that_is_cut_once_goes_on_and_tells_no_more_than_has_come(
    docker_app: App, absent: str, proxy: Proxy
) -> None:
    proxy.script = Script(pause=SLOW, cut_after=lambda nth: LAYER_BYTES // 2 if nth == 1 else None)
    steps: list[tuple[Progress, int]] = []

    def note(step: Progress) -> None:
        steps.append((step, proxy.layer_bytes + LAYERS * CHUNK))  # the proxy counts a chunk after it is gone

    instance = create(docker_app, absent, progress=note)

    assert instance.status is Status.READY
    assert proxy.layer_requests == LAYERS + 1
    amounts = [step.done for step in pulling([step for step, _ in steps])]
    assert [(step, sent) for step, sent in steps if step.done > sent] == []
    assert amounts == sorted(amounts)
    assert amounts[-1] >= LAYERS * LAYER_BYTES


def test_a_private_image_is_pulled_with_the_login_of_the_docker_command(
    docker_app: App, absent: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.script = Script(answer=lambda request: only_for(LOGIN, request))
    log_in(tmp_path / "docker", **{f"127.0.0.1:{proxy.port}": LOGIN})
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))

    assert create(docker_app, absent).status is Status.READY


def test_a_login_after_the_refusal_counts_without_a_restart(
    docker_app: App, absent: str, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.script = Script(answer=lambda request: only_for(LOGIN, request))
    log_in(tmp_path / "docker", **{"somewhere.invalid": "somebody:else"})
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with pytest.raises(ImageUnauthorized, match=r"docker login|credentials"):
        create(docker_app, absent)

    log_in(tmp_path / "docker", **{f"127.0.0.1:{proxy.port}": LOGIN})

    assert create(docker_app, absent).status is Status.READY


def test_no_message_and_no_log_shows_the_credentials(
    docker_app: App,
    docker_stage: DockerStage,
    absent: str,
    proxy: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    proxy.script = Script(answer=lambda request: only_for("another:login", request))
    log_in(tmp_path / "docker", **{f"127.0.0.1:{proxy.port}": LOGIN})
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))

    with pytest.raises(ImageUnauthorized) as caught:
        create(build_app(docker_stage), absent)

    assert any(request.authorization for request in proxy.requests), "the login was not even tried"
    encoded = base64.b64encode(LOGIN.encode()).decode()
    for text in (caught.value.explain(), repr(caught.value), caplog.text):
        assert PASSWORD not in text
        assert encoded not in text
