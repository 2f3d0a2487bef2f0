"""What goes to libpq is said in full: the user's own PG* environment cannot reach in."""

from __future__ import annotations

import pytest
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from dev_postgres_mcp.model import Conninfo, Endpoint, Secret
from dev_postgres_mcp.sql.client import PINNED_OPTIONS, _render

HARMLESS = {
    "gssdelegation",
    "gsslib",
    "krbsrvname",
    "passfile",
    "requirepeer",
    "service",
    "sslcert",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslrootcert",
    "sslsni",
}
"""Have no say in a login with a password over TCP to a server without TLS; `service` cannot be said to be none."""
CONNINFO = Conninfo(
    endpoint=Endpoint(host="127.0.0.1", port=15432), database="a b", username="o'me", password=Secret("s\\'=")
)


def test_a_login_is_said_in_full() -> None:
    said = conninfo_to_dict(_render(CONNINFO))
    assert (said["host"], said["port"], said["dbname"]) == ("127.0.0.1", "15432", "a b")
    assert (said["user"], said["password"]) == ("o'me", "s\\'=")
    assert said["application_name"] == "dev-postgres-mcp"
    assert {key: said[key] for key in PINNED_OPTIONS} == PINNED_OPTIONS


def test_every_option_that_the_environment_could_set_is_said() -> None:
    """Also those of a libpq that is newer than this test."""
    said = {
        option.keyword for option in pq.Conninfo.parse(_render(CONNINFO).encode()) if option.val is not None
    }
    settable = {option.keyword for option in pq.Conninfo.get_defaults() if option.envvar}
    assert sorted(keyword.decode() for keyword in settable - said if keyword.decode() not in HARMLESS) == []


@pytest.mark.parametrize("option", ["hostaddr", "options"])
def test_what_has_no_value_is_said_to_be_empty(option: str) -> None:
    assert conninfo_to_dict(_render(CONNINFO))[option] == ""
