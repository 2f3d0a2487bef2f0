"""A failed pull says why and what to do, and leaves nothing behind."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, TypeAlias

import pytest

from dev_postgres_mcp.errors import (
    ImageNotFound,
    ImageRateLimited,
    ImageUnauthorized,
    ImageUnavailable,
    RegistryUnreachable,
)
from dev_postgres_mcp.instances import build_spec
from tests.helpers.stages import build_app, owned
from tests.registry.conftest import LAYER_BYTES
from tests.registry.proxy import LOOPBACK, Answer, Request, Script, refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from dev_postgres_mcp.app import App
    from tests.helpers.stages import DockerStage
    from tests.registry.proxy import Proxy

pytestmark = pytest.mark.docker

Answers: TypeAlias = "Callable[[Request], Answer | None]"
LOGIN = ("docker login",)
TRY_LATER = ("wait", "docker login")
NAME = ("name and tag", "docker login")
NETWORK = ("network or proxy", "docker load")
BASIC = {"WWW_Authenticate": 'Basic realm="shop"'}
TOKEN = "token-of-the-registry"


def always(answer: Answer) -> Answers:
    return lambda _: answer


def at_manifests(answer: Answer) -> Answers:
    return lambda request: answer if request.is_manifest else None


def at_layers(answer: Answer) -> Answers:
    return lambda request: answer if "/blobs/" in request.path else None


def create_refused(app: App, image: str) -> ImageUnavailable:
    with pytest.raises(ImageUnavailable) as caught:
        app.manager.create(build_spec(app.defaults, image=image))
    return caught.value


def assert_nothing_left(app: App, stage: DockerStage, image: str) -> None:
    assert app.runtime.find_image(image) is None
    assert owned(stage, app.runtime) == ()


@pytest.mark.parametrize(
    "answers, kind, hints",
    [
        pytest.param(
            always(refusal(401, "UNAUTHORIZED", "authentication required", **BASIC)),
            ImageUnauthorized,
            LOGIN,
            id="login wanted",
        ),
        pytest.param(
            at_manifests(refusal(403, "DENIED", "requested access to the resource is denied")),
            ImageUnauthorized,
            LOGIN,
            id="access denied",
        ),
        pytest.param(at_manifests(Answer(403, b"no")), ImageUnauthorized, LOGIN, id="denied in plain text"),
        pytest.param(
            at_layers(refusal(403, "DENIED", "requested access to the resource is denied")),
            ImageUnauthorized,
            LOGIN,
            id="layers denied",
        ),
        pytest.param(
            at_manifests(refusal(404, "MANIFEST_UNKNOWN", "manifest unknown")),
            ImageNotFound,
            NAME,
            id="no such tag",
        ),
        pytest.param(
            at_manifests(refusal(404, "NAME_UNKNOWN", "repository name not known to registry")),
            ImageNotFound,
            NAME,
            id="no such repository",
        ),
        pytest.param(always(Answer(404, b"nothing here")), ImageNotFound, NAME, id="no registry there"),
        pytest.param(
            at_layers(refusal(404, "BLOB_UNKNOWN", "blob unknown to registry")),
            ImageNotFound,
            NAME,
            id="layers lost",
        ),
        pytest.param(
            at_manifests(
                refusal(
                    429,
                    "TOOMANYREQUESTS",
                    "You have reached your pull rate limit. You may increase the limit by authenticating",
                    Retry_After="60",
                )
            ),
            ImageRateLimited,
            TRY_LATER,
            id="rate limit",
        ),
        pytest.param(
            always(Answer(429, b"slow down", {"Retry-After": "60"})),
            ImageRateLimited,
            TRY_LATER,
            id="rate limit in plain text",
        ),
        pytest.param(
            at_layers(refusal(429, "TOOMANYREQUESTS", "slow down", Retry_After="60")),
            ImageRateLimited,
            TRY_LATER,
            id="rate limit of layers",
        ),
        pytest.param(always(Answer(503, b"down")), RegistryUnreachable, NETWORK, id="registry down"),
        pytest.param(
            always(Answer(200, b"<html>log in here</html>", {"Content-Type": "text/html"})),
            RegistryUnreachable,
            NETWORK,
            id="a captive portal",
        ),
    ],
)
def test_a_refusal_has_its_own_error_and_remedy(
    docker_app: App,
    docker_stage: DockerStage,
    undelivered: str,
    proxy: Proxy,
    answers: Answers,
    kind: type[ImageUnavailable],
    hints: tuple[str, ...],
) -> None:
    proxy.script = Script(answer=answers)

    error = create_refused(docker_app, undelivered)

    print(error.message)
    assert type(error) is kind
    assert undelivered in error.message
    assert [hint for hint in hints if hint not in error.hint] == []
    assert_nothing_left(docker_app, docker_stage, undelivered)


@pytest.mark.parametrize("grants", [True, False], ids=["a token that is not enough", "no token"])
def test_a_registry_with_tokens_wants_a_login_too(
    docker_app: App, docker_stage: DockerStage, undelivered: str, proxy: Proxy, grants: bool
) -> None:
    realm = f'Bearer realm="http://{LOOPBACK}:{proxy.port}/token",service="shop"'
    wanted = refusal(401, "UNAUTHORIZED", "authentication required", WWW_Authenticate=realm)
    token = Answer(200, f'{{"token": "{TOKEN}"}}'.encode(), {"Content-Type": "application/json"})
    proxy.script = Script(answer=lambda request: token if grants and "/token" in request.path else wanted)

    error = create_refused(docker_app, undelivered)

    print(error.message)
    assert type(error) is ImageUnauthorized
    assert "docker login" in error.hint
    assert TOKEN not in error.explain()
    assert_nothing_left(docker_app, docker_stage, undelivered)


def test_a_repository_that_nobody_has_is_not_found(
    docker_app: App, docker_stage: DockerStage, proxy: Proxy
) -> None:
    image = f"{LOOPBACK}:{proxy.port}/nobody/has-this:17"

    error = create_refused(docker_app, image)

    print(error.message)
    assert type(error) is ImageNotFound
    assert_nothing_left(docker_app, docker_stage, image)


def test_offline_is_said_at_once(docker_app: App, docker_stage: DockerStage) -> None:
    with socket.socket() as reserved:
        reserved.bind((LOOPBACK, 0))  # and nobody listens
        image = f"{LOOPBACK}:{reserved.getsockname()[1]}/shop/postgres:17"

        error = create_refused(docker_app, image)

    print(error.message)
    assert type(error) is RegistryUnreachable
    assert error.retryable
    assert_nothing_left(docker_app, docker_stage, image)


def test_the_name_of_an_image_is_no_reason(docker_app: App, proxy: Proxy) -> None:
    proxy.script = Script(drop_answers=True)
    image = f"{LOOPBACK}:{proxy.port}/forbidden/access-denied:429"

    error = create_refused(docker_app, image)

    print(error.message)
    assert type(error) is RegistryUnreachable


def test_a_registry_that_is_gone_in_mid_pull_is_unreachable(
    docker_app: App, docker_stage: DockerStage, undelivered: str, proxy: Proxy
) -> None:
    proxy.script = Script(cut_answers=True)

    error = create_refused(docker_app, undelivered)

    print(error.message)
    assert type(error) is RegistryUnreachable
    assert_nothing_left(docker_app, docker_stage, undelivered)


@pytest.mark.torture  # the engine tries five times more, with longer and longer pauses: 75 s
def test_layers_that_are_always_cut_make_the_engine_give_up(
    docker_stage: DockerStage, absent: str, proxy: Proxy
) -> None:
    app = build_app(docker_stage)
    proxy.script = Script(cut_after=lambda _: 2 * LAYER_BYTES // 64, pause=0.001)

    error = create_refused(app, absent)

    print(error.message)
    assert type(error) is RegistryUnreachable
    assert_nothing_left(app, docker_stage, absent)
