"""What goes to libpq is said in full: the user's own PG* environment cannot reach in.  What is cut is named."""

from __future__ import annotations

import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import Cancelled
from dev_postgres_mcp.model import Conninfo, Endpoint, Secret
from dev_postgres_mcp.runtimes.memory import MemorySql, MemoryWorld
from dev_postgres_mcp.sql.client import PsycopgSql
from dev_postgres_mcp.sql.connection import PINNED_OPTIONS, render_conninfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dev_postgres_mcp.sql.base import Sql

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
    said = conninfo_to_dict(render_conninfo(CONNINFO))
    assert (said["host"], said["port"], said["dbname"]) == ("127.0.0.1", "15432", "a b")
    assert (said["user"], said["password"]) == ("o'me", "s\\'=")
    assert said["application_name"] == "dev-postgres-mcp"
    assert {key: said[key] for key in PINNED_OPTIONS} == PINNED_OPTIONS


def test_every_option_that_the_environment_could_set_is_said() -> None:
    """Also those of a libpq that is newer than this test."""
    said = {
        option.keyword
        for option in pq.Conninfo.parse(render_conninfo(CONNINFO).encode())
        if option.val is not None
    }
    settable = {option.keyword for option in pq.Conninfo.get_defaults() if option.envvar}
    assert sorted(keyword.decode() for keyword in settable - said if keyword.decode() not in HARMLESS) == []


@pytest.mark.parametrize("option", ["hostaddr", "options"])
def test_what_has_no_value_is_said_to_be_empty(option: str) -> None:
    assert conninfo_to_dict(render_conninfo(CONNINFO))[option] == ""


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is bound, so that nobody else gets it, and on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize("sql", [PsycopgSql(), MemorySql(MemoryWorld())], ids=["psycopg", "memory"])
@pytest.mark.parametrize(
    "change, doing",
    [
        (
            lambda sql, conninfo, deadline: sql.create_extensions(
                conninfo, ["hstore", "pg_trgm"], deadline=deadline
            ),
            "creating extensions: hstore, pg_trgm",
        ),
        (
            lambda sql, conninfo, deadline: sql.adjust(
                conninfo, conninfo.on(username="other"), deadline=deadline
            ),
            "giving the server its database, user and password",
        ),
        (
            lambda sql, conninfo, deadline: sql.checkpoint(conninfo, deadline=deadline),
            "writing a checkpoint",
        ),
    ],
    ids=["extensions", "names", "checkpoint"],
)
def test_a_verb_that_is_cut_says_what_it_was_doing(
    closed_port: int, sql: Sql, change: Callable[[Sql, Conninfo, Deadline], None], doing: str
) -> None:
    conninfo = replace(CONNINFO, endpoint=Endpoint(host="127.0.0.1", port=closed_port))
    deadline = Deadline(60)
    deadline.cancel()
    with pytest.raises(Cancelled, match=f"cancelled while {doing}"):
        change(sql, conninfo, deadline)
