"""Engines' and registries' own words, collected from the versions that wrote them."""

from __future__ import annotations

import errno

import pytest
from docker.errors import APIError

from dev_postgres_mcp.errors import (
    DevPostgresError,
    DiskFull,
    EngineFailed,
    ImageNotFound,
    ImageRateLimited,
    ImageUnauthorized,
    ImageUnavailable,
    ImageUnsuitable,
    InvalidInput,
    PortConflict,
    RegistryUnreachable,
)
from dev_postgres_mcp.runtimes.docker.failures import explain_pull, find_os_error, translate_api_error

PREFIX = "driver failed programming external connectivity on endpoint mcp-postgres-abc (0f3b): "
CONFLICTS = {
    "Engine 20.10": PREFIX + "Bind for 127.0.0.1:15432 failed: port is already allocated",
    "Engine 20.10, host process": PREFIX
    + "Error starting userland proxy: listen tcp4 127.0.0.1:15432: bind: address already in use",
    "Engine 23": PREFIX + "Bind for 127.0.0.1:15432 failed: port is already allocated",
    "Engine 27, host process": PREFIX
    + "Error starting userland proxy: listen tcp4 127.0.0.1:15432: bind: address already in use",
    "Engine 28, host process": "failed to set up container networking: driver failed programming external "
    "connectivity on endpoint x (1): failed to bind host port for 127.0.0.1:15432:172.17.0.2:5432/tcp: "
    "address already in use",
    "Engine 29": "failed to set up container networking: driver failed programming external connectivity on "
    "endpoint x (1): Bind for 127.0.0.1:15432 failed: port is already allocated",
    "Engine 29, host process": "failed to set up container networking: driver failed programming external "
    "connectivity on endpoint x (1): failed to bind host port 127.0.0.1:15432/tcp: address already in use",
    "Docker Desktop for Mac": "Ports are not available: exposing port TCP 127.0.0.1:15432 -> 127.0.0.1:0: listen "
    "tcp 127.0.0.1:15432: bind: address already in use",
    "Docker Desktop for Windows": "Ports are not available: exposing port TCP 127.0.0.1:15432 -> 127.0.0.1:0: "
    "listen tcp 127.0.0.1:15432: bind: Only one usage of each socket address (protocol/network address/port) is "
    "normally permitted.",
    "Windows, reserved range": "Ports are not available: listen tcp 127.0.0.1:15432: bind: An attempt was made to "
    "access a socket in a way forbidden by its access permissions.",
    "RootlessKit": "driver failed programming external connectivity on endpoint x (1): Error starting userland "
    "proxy: error while calling PortManager.AddPort(): listen tcp4 127.0.0.1:15432: bind: address already in use",
    "RootlessKit, conflict": "error while calling RootlessKit PortManager.AddPort(): conflict with ID 1",
    "podman": "rootlessport listen tcp 127.0.0.1:15432: bind: address already in use",
    "podman, root": "cannot listen on the TCP port: listen tcp4 127.0.0.1:15432: bind: address already in use",
    "podman, netavark": 'something went wrong with the request: "proxy already running\\n"',
    "podman, pasta": "pasta failed with exit code 1: Failed to bind port 15432 (Address already in use) for option "
    "'-t 127.0.0.1/15432-15432:5432-5432'",
}


def refused(explanation: str) -> DevPostgresError:
    return translate_api_error(
        APIError("500 Server Error", explanation=explanation), "starting mcp-postgres-abc"
    )


@pytest.mark.parametrize("text", [text for key, text in CONFLICTS.items() if "netavark" not in key])
def test_every_wording_of_a_bind_conflict_is_a_conflict(text: str) -> None:
    error = refused(text)
    assert type(error) is PortConflict
    assert error.retryable
    assert "while starting mcp-postgres-abc" in error.message
    assert text in error.message


@pytest.mark.parametrize(
    "text, kind",
    [
        ("write /var/lib/docker/tmp/x: no space left on device", DiskFull),
        ("mkdir /var/lib/docker/overlay2/x: disk quota exceeded", DiskFull),
        ("chown /var/lib/docker/overlay2/x-init/work/work: no such file or directory", DiskFull),
        (
            "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
            InvalidInput,
        ),
        ("range of CPUs is from 0.01 to 8.00, as there are only 8 CPUs available", InvalidInput),
        ("Minimum memory limit allowed is 6MB", InvalidInput),
        ("unable to find user postgres: no matching entries in passwd file", ImageUnsuitable),
        (
            'runc create failed: exec: "docker-entrypoint.sh": executable file not found in $PATH',
            ImageUnsuitable,
        ),
        (
            (
                'runc create failed: unable to start container process: exec: "/bin/sh": stat /bin/sh: no such file'
                " or directory: unknown"
            ),
            ImageUnsuitable,
        ),
        ("crun: executable file `/bin/sh` not found: No such file or directory", ImageUnsuitable),
        ("No command specified", ImageUnsuitable),
        ("exec /usr/local/bin/docker-entrypoint.sh: exec format error", ImageUnsuitable),
        ("Conflict. The container name is already in use", EngineFailed),
        ("layer does not exist", EngineFailed),
        ("", EngineFailed),
    ],
)
def test_what_an_engine_answers_has_a_meaning(text: str, kind: type[DevPostgresError]) -> None:
    error = refused(text)
    assert type(error) is kind
    assert "while starting mcp-postgres-abc" in error.message


def test_a_failure_that_nobody_knows_points_to_the_doctor() -> None:
    assert "doctor" in refused("something new").hint


HUB = "registry.example"
PULLS = [
    (
        (
            "pull access denied for nobody/nothing, repository does not exist or may require 'docker login': denied: "
            "requested access to the resource is denied"
        ),
        ImageNotFound,
    ),
    ("manifest for postgres:99 not found: manifest unknown: manifest unknown", ImageNotFound),
    ("manifest unknown", ImageNotFound),
    ("repository name not known to registry", ImageNotFound),
    ("name unknown: The repository with name 'x' does not exist", ImageNotFound),
    (f'failed to resolve reference "{HUB}/x:1": {HUB}/x:1: not found', ImageNotFound),
    ("unexpected status from HEAD request to https://x/v2/x/manifests/1: 404 Not Found", ImageNotFound),
    ("unauthorized: authentication required", ImageUnauthorized),
    (f"Head https://{HUB}/v2/x/manifests/1: no basic auth credentials", ImageUnauthorized),
    ("unauthorized: incorrect username or password", ImageUnauthorized),
    ("denied: permission_denied: read_package", ImageUnauthorized),
    (
        (
            f"failed to authorize: failed to fetch anonymous token: unexpected status from GET https://{HUB}/token: 401 "
            "Unauthorized"
        ),
        ImageUnauthorized,
    ),
    ("received unexpected HTTP status: 403 Forbidden", ImageUnauthorized),
    (
        (
            "toomanyrequests: You have reached your pull rate limit. You may increase the limit by authenticating and "
            "upgrading"
        ),
        ImageRateLimited,
    ),
    ("toomanyrequests: You have reached your unauthenticated pull rate limit.", ImageRateLimited),
    ("unexpected status from HEAD request: 429 Too Many Requests", ImageRateLimited),
    (f'Get "https://{HUB}/v2/": dial tcp: lookup {HUB} on 192.0.2.1:53: no such host', RegistryUnreachable),
    (
        f'Get "https://{HUB}/v2/": dial tcp: lookup {HUB}: Temporary failure in name resolution',
        RegistryUnreachable,
    ),
    (f"dial tcp: lookup {HUB} on 127.0.0.53:53: server misbehaving", RegistryUnreachable),
    (f'Get "https://{HUB}/v2/": dial tcp 192.0.2.1:443: connect: connection refused', RegistryUnreachable),
    ("dial tcp 192.0.2.1:443: connect: network is unreachable", RegistryUnreachable),
    (f'Get "https://{HUB}/v2/": net/http: TLS handshake timeout', RegistryUnreachable),
    (
        f'Get "https://{HUB}/v2/": net/http: request canceled while waiting for connection (Client.Timeout exceeded)',
        RegistryUnreachable,
    ),
    (f'Get "https://{HUB}/v2/": context deadline exceeded', RegistryUnreachable),
    ("unexpected EOF", RegistryUnreachable),
    (f'Get "https://{HUB}/v2/": EOF', RegistryUnreachable),
    ("read tcp 192.0.2.7:4711->192.0.2.1:443: read: connection reset by peer", RegistryUnreachable),
    ("received unexpected HTTP status: 503 Service Unavailable", RegistryUnreachable),
    ("proxyconnect tcp: dial tcp 192.0.2.9:3128: connect: connection refused", RegistryUnreachable),
    ("failed to register layer: write /usr/bin/x: no space left on device", ImageUnavailable),
    ("something new", ImageUnavailable),
]


@pytest.mark.parametrize("text, kind", PULLS)
def test_a_failed_pull_says_why_and_what_to_do(text: str, kind: type[ImageUnavailable]) -> None:
    error = explain_pull("registry.example/x:1", text)
    assert type(error) is kind
    assert error.message == f"could not pull registry.example/x:1: {text}"
    assert error.hint
    assert error.retryable is (kind in {ImageRateLimited, RegistryUnreachable})


@pytest.mark.parametrize("ref", ["team/404:1", "timeout/eof:401", "denied:500", "team/db:429"])
def test_a_name_that_looks_like_a_failure_does_not_mislead(ref: str) -> None:
    assert (
        type(explain_pull(ref, f"manifest for {ref} not found: manifest unknown: manifest unknown"))
        is ImageNotFound
    )


def test_the_system_error_is_found_at_the_root_of_a_chain() -> None:
    root = PermissionError(errno.EACCES, "Permission denied")
    middle = ConnectionError("aborted", root)
    outer = ValueError("client")
    outer.__cause__ = middle
    assert find_os_error(outer) is root


def test_a_chain_in_a_circle_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert find_os_error(first) is None
    assert find_os_error(None) is None
