"""When is a server ready: when a login with its own password and a query work over TCP.  Nothing less.

The image runs a temporary server on the unix socket while it initialises, and Docker's proxy accepts TCP
connections before anything listens; logs and `pg_isready` are true too early.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import (
    DeadlineExceeded,
    DevPostgresError,
    InitFailed,
    LoginFailed,
    ServerNotReady,
)

if TYPE_CHECKING:
    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo, Evidence, Secret
    from dev_postgres_mcp.runtimes.base import Container, Runtime
    from dev_postgres_mcp.sql.base import Sql

POLL_SECONDS = 0.02
_LOGINS_PER_LOOK = 5
LOG_TAIL = 20
_LOG_LOOK = 400
_OWN_KNOCKS = (
    "FATAL:  password authentication failed",
    "has no password assigned",
    "Connection matched file",
)
"""What servers log of the logins that were tried until one works: it would hide what else they have to say."""
_LOOK_SECONDS = 2.0
"""For the evidence of a create that took too long; the rest of the time for undoing belongs to the removal."""


def wait_ready(
    runtime: Runtime, sql: Sql, container_id: str, conninfo: Conninfo, *, with_init: bool, deadline: Deadline
) -> None:
    """Return as soon as a login and `SELECT 1` work.

    Raises ServerNotReady (InitFailed when scripts were given) as soon as the container has exited, and when
    the deadline passes.
    """
    refusal = "no login was tried"
    try:
        for poll in count():
            try:
                sql.login(conninfo)
            except LoginFailed as exc:
                refusal = exc.message
            else:
                return
            if poll % _LOGINS_PER_LOOK == 0:
                _check_alive(runtime, container_id, conninfo.password, with_init=with_init, deadline=deadline)
            deadline.check("waiting for the first login")
            deadline.sleep(POLL_SECONDS)
    except DeadlineExceeded as exc:
        raise ServerNotReady(
            f"the server did not accept a login within {deadline.seconds:g} s: {refusal}",
            hint="raise the setting `create_timeout`, or look at what the image does at its start",
            evidence=_look_back(
                runtime, container_id, conninfo.password, deadline.undoing().part(_LOOK_SECONDS)
            ),
        ) from exc


def look_closer(
    runtime: Runtime, container: Container, secret: Secret | None, *, deadline: Deadline | None = None
) -> Container:
    """Return the container with the end of its log in its evidence; `secret` is struck out of it."""
    lines = runtime.logs(container.container_id, tail=_LOG_LOOK, deadline=deadline).splitlines()
    telling = [line for line in lines if not any(knock in line for knock in _OWN_KNOCKS)]
    tail = "\n".join(telling[-LOG_TAIL:])
    return container.with_evidence(tail.replace(secret.reveal(), "***") if secret is not None else tail)


def _look_back(runtime: Runtime, container_id: str, password: Secret, deadline: Deadline) -> Evidence | None:
    """Return what a server that took too long has logged; nothing when the engine does not say in time."""
    try:
        container = runtime.inspect(container_id, deadline=deadline)
        return look_closer(runtime, container, password, deadline=deadline).evidence
    except DevPostgresError:
        return None


def _check_alive(
    runtime: Runtime, container_id: str, password: Secret, *, with_init: bool, deadline: Deadline
) -> None:
    container = runtime.inspect(container_id, deadline=deadline)
    if not container.dead:
        return
    evidence = look_closer(runtime, container, password, deadline=deadline).evidence
    if with_init:
        raise InitFailed(
            "the server exited before it was ready; an init script may have failed",
            hint="fix the script (psql's message is in the log lines above) and create again",
            evidence=evidence,
        )
    raise ServerNotReady(
        "the server exited before it was ready",
        hint="the log lines above say why: often a setting that PostgreSQL refuses, too little memory, "
        "or an image that is not made from `postgres`",
        evidence=evidence,
    )
