"""Reads what the guard asks of a server by name: functions, operators, types, casts, and relations with code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dev_postgres_mcp.guard.catalogue import (
    CORE,
    SYSTEM_SCHEMAS,
    Cast,
    Catalogue,
    Function,
    Operator,
    Relation,
    Type,
)
from dev_postgres_mcp.sql.queries import load_queries
from dev_postgres_mcp.sql.sessions import open_session

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import Conninfo

_PARTS = (
    "catalogue_functions",
    "catalogue_operators",
    "catalogue_types",
    "catalogue_casts",
    "catalogue_relations",
)
_MAJOR = 10_000


class PsycopgCatalogueSql:
    """`CatalogueSql` over TCP.  Holds nothing between calls; safe on any thread."""

    def read(self, conninfo: Conninfo, *, deadline: Deadline) -> Catalogue:
        """Return the catalogue of a database, in one round trip."""
        with open_session(conninfo, deadline, lambda: "reading the catalogue") as connection:
            path, functions, operators, types, casts, relations = _ask(connection)
            names = {row[-1]: row[1] for row in types}
            return Catalogue(
                version=connection.info.server_version // _MAJOR,
                live=True,
                path=SYSTEM_SCHEMAS.union(name.strip().strip('"') for (name,) in path),
                functions=tuple(_function(row, names) for row in functions),
                operators=tuple({_operator(row): None for row in operators}),
                types=tuple(map(_type, types)),
                casts=tuple(Cast(target=target, function=function) for target, function in casts),
                relations=tuple(map(_relation, relations)),
            )


def _ask(connection: psycopg.Connection[Any]) -> list[list[tuple[Any, ...]]]:
    queries = load_queries("catalogue.sql")
    # Names that the database's owner has put before PostgreSQL's own must not be met by these statements.
    pin = load_queries("inspection.sql")["pin_session"]
    parts = (queries["catalogue_path"], pin, *(queries[name] for name in _PARTS))
    cursor = connection.execute("\n".join(parts).encode(), prepare=False)
    answers = [cursor.fetchall()]
    while cursor.nextset():
        answers.append(cursor.fetchall())
    del answers[1]
    return answers


def _function(row: tuple[Any, ...], type_names: Mapping[int, str]) -> Function:
    schema, name, arguments, defaults, variadic, volatility, origin, *more = row
    language, security_definer, settings, body, atomic, parts, oid = more
    return Function(
        schema=schema,
        name=name,
        arguments=tuple(type_names.get(argument, "") for argument in arguments),
        defaults=defaults,
        variadic=variadic,
        volatility=volatility,
        origin=origin,
        language=language,
        security_definer=security_definer,
        settings=tuple(settings),
        body=body,
        atomic=atomic,
        parts=tuple(parts),
        oid=oid,
    )


def _operator(row: tuple[Any, ...]) -> Operator:
    schema, name, function, origin = row
    return Operator(schema=schema, name=name, function=0 if origin == CORE else function, origin=origin)


def _type(row: tuple[Any, ...]) -> Type:
    schema, name, kind, origin, checks, parts, functions, oid = row
    return Type(
        schema=schema,
        name=name,
        kind=kind,
        origin=origin,
        checks=tuple(checks),
        parts=tuple(parts),
        functions=tuple(functions),
        oid=oid,
    )


def _relation(row: tuple[Any, ...]) -> Relation:
    schema, name, query, policies, wrapper, program = row
    return Relation(
        schema=schema,
        name=name,
        query=query,
        policies=tuple(policies),
        wrapper=wrapper,
        program=program,
    )
