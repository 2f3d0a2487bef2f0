"""The one network that all instances share: no traffic between them, none to the outside.

Not `internal`, which would drop the published ports too; without masquerading nothing gets out.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import structlog
from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.runtimes.docker.discovery import Api
    from dev_postgres_mcp.runtimes.docker.engine import EngineConnection

log = structlog.get_logger(__name__)

NAME = "dev-postgres-mcp"
LABEL = "dev-postgres-mcp.network"
_TURN_SECONDS = 0.2
_OPTIONS = {
    "com.docker.network.bridge.enable_icc": "false",
    "com.docker.network.bridge.enable_ip_masquerade": "false",
}


def ensure_network(connection: EngineConnection, lock_file: Path, *, deadline: Deadline) -> str:
    """Return the id of our network, made on first use.

    Engines allow several networks of one name, so that it is found by label and attached by id.  Creators on
    one machine take turns; creators on several agree on the oldest.
    """
    doing = "looking for our network"
    with connection.calling(doing, deadline=deadline) as api:
        found = _oldest(api)
    if found is not None:
        return found
    with _turn(lock_file, deadline), connection.calling(doing, deadline=deadline) as api:
        return _oldest(api) or _create(api)


@contextmanager
def _turn(lock_file: Path, deadline: Deadline) -> Iterator[None]:
    """Take a turn among the creators on this machine; without a place for the lock there are no turns."""
    lock = FileLock(lock_file)
    held = False
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        while not held:
            deadline.check("waiting for another process that makes our network")
            with suppress(Timeout):
                lock.acquire(timeout=_TURN_SECONDS)
                held = True
    except OSError as exc:
        log.warning("no lock for making the network", path=str(lock_file), reason=exc.strerror)
    try:
        yield
    finally:
        lock.release()


def _create(api: Api) -> str:
    created = api.create_network(NAME, driver="bridge", options=_OPTIONS, labels={LABEL: "shared"})["Id"]
    oldest = _oldest(api) or str(created)
    if oldest != created:
        api.remove_network(created)
    return oldest


def _oldest(api: Api) -> str | None:
    def age(network: Mapping[str, Any]) -> tuple[str, str]:
        return str(network["Created"]), str(network["Id"])

    ours = sorted(api.networks(filters={"label": LABEL}), key=age)
    return str(ours[0]["Id"]) if ours else None
