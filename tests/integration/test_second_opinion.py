"""testcontainers starts the same image its own way: what it gets and what we get must be one server."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.runtimes.throwaway import SMALL_SETTINGS, THROWAWAY_SETTINGS
from tests.integration.queries import dsn_of, rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance
    from tests.helpers.stages import DockerStage
    from tests.integration.conftest import Create

pytestmark = pytest.mark.docker

OURS = {**THROWAWAY_SETTINGS, **SMALL_SETTINGS}
FOLLOW_FROM_OURS = {
    "shared_memory_size": "computed from max_connections and max_locks_per_transaction",
    "shared_memory_size_in_huge_pages": "the same in other units",
    "data_directory": "PGDATA is ours, so that the cluster is part of the container",
    "config_file": "in PGDATA",
    "hba_file": "in PGDATA",
    "ident_file": "in PGDATA",
}
"""Settings that may differ beside those of a throwaway server, with the reason."""

QUESTIONS = {
    "databases, their encoding, locale and owner": (
        "SELECT datname, pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider, datistemplate,"
        " datallowconn, datconnlimit, rolname, datacl::text"
        " FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba ORDER BY datname"
    ),
    "roles": (
        "SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication,"
        " rolbypassrls, rolconnlimit, rolvaliduntil FROM pg_roles ORDER BY rolname"
    ),
    "kinds of passwords": "SELECT rolname, left(rolpassword, 14) FROM pg_authid ORDER BY rolname",
    "extensions": "SELECT extname, extversion FROM pg_extension ORDER BY extname",
    "rules of pg_hba.conf": (
        "SELECT type, database, user_name, address, netmask, auth_method, options, error"
        " FROM pg_hba_file_rules ORDER BY line_number"
    ),
    "schemas": "SELECT nspname, nspacl::text FROM pg_namespace WHERE nspname !~ '^pg_t' ORDER BY nspname",
    "tablespaces": "SELECT spcname FROM pg_tablespace ORDER BY spcname",
    "version": "SELECT version()",
    "settings of roles and databases": "SELECT * FROM pg_db_role_setting",
    "preset time zone": "SHOW timezone",
}


@pytest.fixture(scope="module")
def theirs(stage: DockerStage) -> Iterator[str]:
    """The DSN of a server that testcontainers made."""
    with pytest.MonkeyPatch.context() as environment, warnings.catch_warnings():
        environment.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
        warnings.simplefilter("ignore", DeprecationWarning)  # newer ones moved the module
        from testcontainers.postgres import PostgresContainer

        container = PostgresContainer(
            f"postgres:{stage.version}", username="keeper", dbname="shop", driver=None
        )
        container.with_kwargs(labels={"tests.session": stage.session})
        with container:
            yield container.get_connection_url()


@pytest.fixture(scope="module")
def ours(program: App) -> str:
    """The DSN of a server that we made."""
    return dsn_of(program.manager.create(build_spec(program.defaults, database="shop", username="keeper")))


@pytest.mark.parametrize("question", QUESTIONS)
def test_both_servers_give_the_same_answer(theirs: str, ours: str, question: str) -> None:
    answer = rows(ours, QUESTIONS[question])
    assert answer == rows(theirs, QUESTIONS[question])
    assert answer or question == "settings of roles and databases"


def settings_of(dsn: str) -> dict[str, tuple[Any, ...]]:
    """Return value, unit and pending changes of every setting."""
    found = rows(dsn, "SELECT name, setting, unit, reset_val, pending_restart FROM pg_settings")
    return {name: tuple(rest) for name, *rest in found}


def test_only_the_settings_that_we_list_differ(theirs: str, ours: str) -> None:
    here, there = settings_of(ours), settings_of(theirs)
    assert set(here) == set(there)
    different = {name for name in here if here[name] != there[name]}
    assert different == (set(OURS) | set(FOLLOW_FROM_OURS)) & set(here)


def test_the_settings_that_we_list_have_the_values_that_we_list(ours: str) -> None:
    here = settings_of(ours)
    assert {name: here[name][0] for name in OURS} == OURS


def test_names_given_afterwards_make_no_difference(ours: str, create: Create) -> None:
    """Odd names are made under plain ones and renamed: apart from the names it is the same server."""
    renamed: Instance = create(database="my shop's", username="the keeper's")
    dsn = dsn_of(renamed)

    def plain(part: object) -> object:
        if not isinstance(part, str):
            return part
        unquoted = part.replace('"', "").replace("\\", "")
        return unquoted.replace("my shop's", "shop").replace("the keeper's", "keeper")

    for question in QUESTIONS.values():
        answer = [tuple(plain(part) for part in row) for row in rows(dsn, question)]
        assert sorted(answer, key=str) == sorted(
            ([tuple(plain(part) for part in row) for row in rows(ours, question)]), key=str
        )
    assert settings_of(dsn) == settings_of(ours)
