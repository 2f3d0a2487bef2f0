"""Templates: databases that are built once and then copied.

A template of its name is whole: it is built under another name, and renamed last.  What a dead builder leaves
bears that other name, and the next builder removes it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import DevPostgresError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dev_postgres_mcp.sql.database_base import DatabaseSession

TEMPLATE_PREFIX = "pytest_template_"
BUILDING_PREFIX = "pytest_building_"


@dataclass(frozen=True, kw_only=True)
class TemplateKey:
    """Which template is meant: `digest` of its inputs.  `run` builds it, and does so anew once when `rebuild`."""

    digest: str
    run: str
    rebuild: bool = False

    @property
    def name(self) -> str:
        """Return the name of the template on every server."""
        return TEMPLATE_PREFIX + self.digest

    @property
    def building(self) -> str:
        """Return the name under which it is built."""
        return BUILDING_PREFIX + self.digest

    @property
    def comment(self) -> str:
        """Return what is written on it."""
        return f"template, built by test run {self.run}"


def ensure_template(session: DatabaseSession, key: TemplateKey, build: Callable[[str], None]) -> bool:
    """Make sure that the template is there; `build` fills a database of the name that it is given.

    Return whether it was built just now.  Whoever else wants the same template on the same server waits.  What
    `build` raises is raised, and nothing of the attempt is left.
    """
    with session.turn(key.name):
        comments = {one.name: one.comment for one in session.databases()}
        if key.name in comments and not (key.rebuild and comments[key.name] != key.comment):
            return False
        session.drop_template(key.building)
        session.create(key.building)
        try:
            build(key.building)
            session.comment(key.building, key.comment)
            session.drop_template(key.name)
            session.seal(key.building, key.name)
        except BaseException:
            with suppress(DevPostgresError):
                session.drop_template(key.building)
            raise
    return True
