"""The one network that all instances share: no traffic between them, none to the outside.

Not `internal`, which would drop the published ports too; without masquerading nothing gets out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dev_postgres_mcp.runtimes.turns import take_turn

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.runtimes.docker.discovery import Api
    from dev_postgres_mcp.runtimes.docker.engine import EngineConnection

NAME = "dev-postgres-mcp"
LABEL = "dev-postgres-mcp.network"
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
    with (
        take_turn(lock_file, deadline, "making our network"),
        connection.calling(doing, deadline=deadline) as api,
    ):
        return _oldest(api) or _create(api)


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
