"""Every name that PostgreSQL takes: created, connected to by DSN, and nothing else left in the cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import InvalidInput
from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.parsing import check_name, check_username
from tests.integration.queries import databases, dsn_of, roles, rows

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Conninfo
    from tests.helpers.stages import DockerStage
    from tests.integration.conftest import Create

pytestmark = pytest.mark.docker

OWN = {"postgres", "template0", "template1"}
WHO = "SELECT current_database(), current_user, session_user"

PAIRS = (
    (" leading and trailing ", "two  words"),
    ("-dbname it's 100%s %(x)s %%", '--help "me" user=c password=d'),
    ("a=b\nline\\break", "$HOME `id` $(id)\tand\rreturn {0} :name ?"),
    ('"; DROP TABLE x; --', "'; DROP ROLE postgres; --"),
    ("postgresql://x:y@z/w?a=b", "postgres://@/"),
    ("naïve Базы 数据", "🐘" * 15 + "abc"),
    ("x" * 63, "é" * 31 + "y"),
    ("dev_postgres_mcp_bootstrap", "dev_postgres_mcp_stand_in"),
    ("template1", "postgres"),
    ("all", "replication"),
    ("\u202egnp.exe", "\u200b"),
)


@pytest.mark.parametrize("database, username", PAIRS)
def test_a_server_with_names_of_any_spelling(create: Create, database: str, username: str) -> None:
    instance = create(database=database, username=username)
    dsn = dsn_of(instance)
    assert rows(dsn, WHO) == [(database, username, username)]
    assert roles(dsn) == {username}
    assert databases(dsn) == OWN | {database}


def accepted_database(name: str) -> bool:
    """Tell whether the name passes our check, and is none of the cluster's own."""
    try:
        return check_name(name, what="database") not in OWN
    except InvalidInput:
        return False


def accepted_username(name: str) -> bool:
    try:
        return bool(check_username(name))
    except InvalidInput:
        return False


texts = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), st.sampled_from("'\"\\$%=;- ")
    ),
    min_size=1,
    max_size=63,
)


@pytest.fixture(scope="module")
def server(program: App) -> list[Conninfo]:
    """The current login of one server that is renamed again and again."""
    instance = program.manager.create(build_spec(program.defaults, database="first"))
    assert instance.conninfo is not None
    return [instance.conninfo]


@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(database=texts.filter(accepted_database), username=texts.filter(accepted_username))
@example(database="%", username="\\")
@example(database="\x01\x7f", username="\ufffe\uffff")
def test_any_name_that_we_accept_can_be_given_to_a_running_server(
    stage: DockerStage, server: list[Conninfo], database: str, username: str
) -> None:
    (current,) = server
    renamed = current.on(database=database, username=username)
    stage.sql.adjust(current, renamed, deadline=Deadline(60))
    server[:] = [renamed]
    dsn = renamed.dsn()
    assert rows(dsn, WHO) == [(database, username, username)]
    assert roles(dsn) == {username}
    assert databases(dsn) == OWN | {database}
