"""The error tree is a document: these tests keep it true."""

from __future__ import annotations

import inspect
import re

import pytest

from dev_postgres_mcp import errors
from dev_postgres_mcp.errors import DevPostgresError, DiskFull, EngineDown, InstanceNotFound, ServerNotReady
from dev_postgres_mcp.model import Evidence

CODES = {
    "DevPostgresError": "failed",
    "InvalidInput": "invalid_input",
    "InvalidConfiguration": "invalid_configuration",
    "InstanceNotFound": "instance_not_found",
    "SnapshotNotFound": "snapshot_not_found",
    "SnapshotInUse": "snapshot_in_use",
    "AmbiguousReference": "ambiguous_reference",
    "EngineUnavailable": "engine_unavailable",
    "EngineNotFound": "engine_not_found",
    "EnginePermissionDenied": "engine_permission_denied",
    "EngineDown": "engine_down",
    "EngineUnsupported": "engine_unsupported",
    "ProviderNotFound": "provider_not_found",
    "EngineFailed": "engine_failed",
    "PortConflict": "port_conflict",
    "DiskFull": "disk_full",
    "LimitReached": "limit_reached",
    "PortsExhausted": "ports_exhausted",
    "ImageUnavailable": "image_unavailable",
    "ImageNotFound": "image_not_found",
    "ImageUnauthorized": "image_unauthorized",
    "ImageRateLimited": "image_rate_limited",
    "RegistryUnreachable": "registry_unreachable",
    "ImageUnsuitable": "image_unsuitable",
    "ServerNotReady": "server_not_ready",
    "InitFailed": "init_failed",
    "LoginFailed": "login_failed",
    "DatabaseFailed": "database_failed",
    "TemplateFailed": "template_failed",
    "DeadlineExceeded": "deadline_exceeded",
    "Cancelled": "cancelled",
}
"""Stable: scripts and models act on these."""
PASSING = {
    "EngineUnavailable",
    "EngineNotFound",
    "EngineDown",
    "PortConflict",
    "ImageRateLimited",
    "RegistryUnreachable",
    "LoginFailed",
    "DeadlineExceeded",
}


def classes() -> dict[str, type[DevPostgresError]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, DevPostgresError)
    }


def test_each_error_has_its_stable_code() -> None:
    assert {name: kind.code for name, kind in classes().items()} == CODES
    assert len(set(CODES.values())) == len(CODES)
    assert all("code" in vars(kind) for kind in classes().values()), "no code is inherited"


def test_the_errors_worth_repeating_are_known() -> None:
    assert {name for name, kind in classes().items() if kind.retryable} == PASSING


def test_the_tree_in_the_document_is_the_tree_in_the_code() -> None:
    drawn: list[tuple[str, str]] = []
    branch: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([ |`]*-? ?)([A-Z]\w+)(?:  |$)", line)
        if match is None:
            continue
        depth = len(match[1]) // 3
        branch[depth:] = [match[2]]
        drawn.append((match[2], branch[depth - 1] if depth else "Exception"))
    written = [(name, kind.__mro__[1].__name__) for name, kind in classes().items()]
    assert drawn == written


def test_an_explanation_is_message_evidence_and_hint() -> None:
    error = ServerNotReady("it exited", hint="look", evidence=Evidence(exit_code=1, log_tail="FATAL: why"))
    assert error.explain() == "it exited\nexit code 1\nlast log lines:\nFATAL: why\nhint: look"


def test_an_explanation_without_more_is_the_message() -> None:
    assert ServerNotReady("it exited").explain() == "it exited"
    assert str(ServerNotReady("it exited")) == "it exited"


@pytest.mark.parametrize("kind", [InstanceNotFound, DiskFull])
def test_a_hint_of_the_kind_stands_in_for_a_missing_one(kind: type[DevPostgresError]) -> None:
    assert kind("x").hint == kind.default_hint
    assert kind("x").hint
    assert kind("x", hint="mine").hint == "mine"


def test_what_is_known_of_waiting_travels_along() -> None:
    assert EngineDown("x", retry_after=2.5).retry_after == 2.5
    assert EngineDown("x").retry_after is None
