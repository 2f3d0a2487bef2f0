"""However a server came to be - claimed, cold, from a plain image or as a branch - SQL sees the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers.acts import branch, create, offer_spare
from tests.helpers.stages import build_app
from tests.integration.queries import dsn_of, rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Instance
    from tests.helpers.stages import DockerStage

LOOKS: Mapping[str, str] = {
    "roles": r"""
        SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,
               rolconnlimit, rolvaliduntil, left(rolpassword, 14)
        FROM pg_authid ORDER BY rolname""",
    "memberships": """
        SELECT roleid::regrole::text, member::regrole::text, admin_option FROM pg_auth_members ORDER BY 1, 2""",
    "databases": """
        SELECT datname, datdba::regrole::text, pg_encoding_to_char(encoding), datcollate, datctype, datistemplate,
               datallowconn, datconnlimit, datacl::text, dattablespace
        FROM pg_database ORDER BY datname""",
    "database comments": """
        SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database ORDER BY datname""",
    "settings of roles and databases": "SELECT setdatabase, setrole, setconfig FROM pg_db_role_setting ORDER BY 1, 2",
    "schemas": """
        SELECT nspname, nspowner::regrole::text, nspacl::text FROM pg_namespace ORDER BY nspname""",
    "extensions": "SELECT extname, extversion, extowner::regrole::text FROM pg_extension ORDER BY extname",
    "objects of users": """
        SELECT relname, relkind, relowner::regrole::text FROM pg_class WHERE oid >= 16384 ORDER BY relname""",
    "functions of users": "SELECT proname FROM pg_proc WHERE oid >= 16384 ORDER BY proname",
    "tablespaces": "SELECT spcname, spcowner::regrole::text FROM pg_tablespace ORDER BY spcname",
    "settings": """
        SELECT name, setting, source FROM pg_settings
        WHERE source <> 'client' AND name NOT IN ('transaction_isolation', 'search_path', 'shared_memory_size')
        ORDER BY name""",
    "who asks": "SELECT current_user, session_user, current_database()",
    "access": "SELECT type, database, user_name, address, auth_method FROM pg_hba_file_rules ORDER BY line_number",
    "replication": "SELECT count(*) FROM pg_replication_slots",
}


def look(instance: Instance) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that a client can see of how a server was set up."""
    return {what: rows(dsn_of(instance), question) for what, question in LOOKS.items()}


@pytest.fixture(scope="module")
def pool(stage: DockerStage) -> App:
    """A program on a base image of its own, whose spares nobody else claims."""
    repository = stage.add_base().rpartition(":")[0]
    return build_app(stage, image_repository=repository, memory="128m")


def claim(stage: DockerStage, pool: App, **asked: Any) -> Instance:
    spare = offer_spare(stage, pool)
    instance = create(pool, **asked)
    assert instance.id == spare.id
    return instance


@pytest.mark.docker
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"database": "shop"},
        {"username": "keeper"},
        {"database": "shop", "username": "keeper", "extensions": ["hstore"]},
        {"database": "Ünï \"q\" 'q'", "username": "a=b c"},
        {"database": "template1"},
    ],
    ids=repr,
)
def test_nobody_can_tell_how_a_server_came_to_be(
    stage: DockerStage, pool: App, asked: dict[str, Any]
) -> None:
    claimed = claim(stage, pool, **asked)
    cold = create(pool, **asked)
    branched = branch(pool, cold.id)
    try:
        expected = look(claimed)
        assert look(cold) == expected
        assert look(branched) == expected
        assert expected["who asks"] == [
            (asked.get("username", "postgres"),) * 2 + (asked.get("database", "postgres"),)
        ]
    finally:
        pool.manager.drop([claimed.id, cold.id, branched.id])


@pytest.mark.docker
@pytest.mark.parametrize("asked", [{}, {"database": "shop", "username": "keeper"}], ids=repr)
def test_a_prepared_cluster_is_what_the_image_itself_would_have_made(
    stage: DockerStage, pool: App, tmp_path: Any, asked: dict[str, Any]
) -> None:
    (tmp_path / "nothing.sql").write_text("SELECT 1;", encoding="utf-8")
    plain = create(pool, init=tmp_path / "nothing.sql", **asked)
    prepared = create(pool, **asked)
    try:
        assert pool.manager.find(plain.id).image_kind is None
        assert pool.manager.find(prepared.id).image_kind is not None
        assert look(prepared) == look(plain)
    finally:
        pool.manager.drop([plain.id, prepared.id])
