"""The catalogues that the package carries: PostgreSQL's own of each major version, and the usual extensions'.

`data/catalogues.txt` is written by `tools/catalogues.py` from real servers, one object a line; an extension's objects
hold for every version, in whichever schema.  Of a version that has not been read the next later one's stands in.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from dev_postgres_mcp.guard.catalogue import ANY_SCHEMA, CORE, Catalogue, Function, Operator, Type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Item = Function | Operator | Type

FILE = "data/catalogues.txt"
DEFAULT_VERSION = 17


@cache
def load_catalogue(version: int = DEFAULT_VERSION) -> Catalogue:
    """Return what a server of that major version knows when it is new."""
    lines = files("dev_postgres_mcp.guard").joinpath(FILE).read_text(encoding="utf-8").splitlines()
    return unpack(lines, version)


def unpack(lines: Iterable[str], version: int) -> Catalogue:
    """Return the catalogue of one version."""
    rows = [line.split() for line in lines if not line.startswith("#")]
    read = sorted({int(one) for row in rows if row[0] != ANY_SCHEMA for one in row[0].split(",")})
    stands_in = next((one for one in read if one >= version), read[-1])
    items = [_unpack(row) for row in rows if row[0] == ANY_SCHEMA or str(stands_in) in row[0].split(",")]
    return Catalogue(
        version=version,
        live=False,
        functions=tuple(item for item in items if isinstance(item, Function)),
        operators=tuple(item for item in items if isinstance(item, Operator)),
        types=tuple(item for item in items if isinstance(item, Type)),
    )


def pack(catalogues: Iterable[Catalogue]) -> Iterator[str]:
    """Yield the lines for some catalogues; nothing of what users made, nothing but the names of what is harmless."""
    found: dict[str, set[int]] = {}
    for catalogue in catalogues:
        for line in _lines(catalogue):
            found.setdefault(line, set()).add(catalogue.version)
    for line, versions in sorted(found.items()):
        yield f"{ANY_SCHEMA if _of_extension(line) else ','.join(map(str, sorted(versions)))} {line}"


def _lines(catalogue: Catalogue) -> Iterator[str]:
    for function in catalogue.functions:
        if function.origin and "internal" not in function.arguments:  # no query can call those
            required = len(function.arguments) - function.defaults
            arguments = [name + "=" * (place >= required) for place, name in enumerate(function.arguments)]
            if function.variadic:
                arguments[-1] += "*"
            definer = " definer" if function.security_definer else ""
            yield f"function {_place(function)} {function.name}({','.join(arguments)}) {function.volatility}{definer}"
    for operator in catalogue.operators:
        if operator.origin:
            yield f"operator {_place(operator)} {operator.name}"
    for one in catalogue.types:
        if one.origin and one.schema != "pg_toast":
            yield f"type {_place(one)} {one.name} {one.kind}"


def _place(item: Item) -> str:
    return item.schema if item.origin == CORE else f"{ANY_SCHEMA}{item.origin}"


def _of_extension(line: str) -> bool:
    return line.split()[1].startswith(ANY_SCHEMA)


def _unpack(row: list[str]) -> Item:
    _, kind, place, name, *more = row
    extension = place.startswith(ANY_SCHEMA)
    schema = ANY_SCHEMA if extension else place
    origin = place.removeprefix(ANY_SCHEMA) if extension else CORE
    if kind == "operator":
        return Operator(schema=schema, name=name, origin=origin)
    if kind == "type":
        return Type(schema=schema, name=name, kind=more[0], origin=origin)
    name, _, rest = name.partition("(")
    arguments = rest.removesuffix(")").split(",") if rest != ")" else []
    return Function(
        schema=schema,
        name=name,
        arguments=tuple(argument.rstrip("=*") for argument in arguments),
        defaults=sum("=" in argument for argument in arguments),
        variadic=any(argument.endswith("*") for argument in arguments),
        volatility=more[0],
        origin=origin,
        security_definer="definer" in more,
    )
