"""What a server knows by name, as far as the guard asks: frozen values, found by name and schema."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CORE = "core"
"""The origin of what initdb makes; an extension's objects carry its name, everybody else's none."""
ANY_SCHEMA = "*"
"""The schema of an extension's objects when nobody knows where it will be installed."""
SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema"})


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function, aggregate, window function or procedure.

    `arguments` are type names, the last `defaults` of which may be left out.  `body` is the SQL of a function that a
    user wrote in SQL, `atomic` when it is of the SQL standard's form, or the C function behind one of the language
    `internal`; `parts` are an aggregate's functions.
    """

    schema: str
    name: str
    arguments: tuple[str, ...] = ()
    defaults: int = 0
    variadic: bool = False
    volatility: str = "v"
    origin: str = ""
    language: str = "internal"
    security_definer: bool = False
    settings: tuple[str, ...] = ()
    body: str | None = None
    atomic: bool = False
    parts: tuple[int, ...] = ()
    oid: int = 0

    def accepts(self, count: int) -> bool:
        """Return whether it can be called with so many arguments."""
        required = len(self.arguments) - self.defaults - self.variadic
        return count >= required and (self.variadic or count <= len(self.arguments))


@dataclass(frozen=True, kw_only=True)
class Operator:
    """An operator and its function, which is 0 for those whose functions all were found harmless."""

    schema: str
    name: str
    function: int = 0
    origin: str = ""


@dataclass(frozen=True, kw_only=True)
class Type:
    """A type.  `kind` is PostgreSQL's `typtype`, or `a` for an array.

    Of a user's own: `checks` are a domain's conditions; `parts` the types that it is made of; `functions` those
    that read or compare its values.
    """

    schema: str
    name: str
    kind: str = "b"
    origin: str = ""
    checks: tuple[str, ...] = ()
    parts: tuple[int, ...] = ()
    functions: tuple[int, ...] = ()
    oid: int = 0


@dataclass(frozen=True, kw_only=True)
class Cast:
    """A cast that somebody made, with a function."""

    target: int
    function: int


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A relation with code of its own: a view, a table with row security, or a foreign table.

    `wrapper` is a foreign table's wrapper, `program` whether it runs a program.
    """

    schema: str
    name: str
    query: str | None = None
    policies: tuple[str, ...] = ()
    wrapper: str = ""
    program: bool = False


class _Named(Protocol):
    @property
    def schema(self) -> str: ...

    @property
    def name(self) -> str: ...


_Item = TypeVar("_Item", bound=_Named)


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """What a server of a major version knows.  `live` says that nothing is missing: it was read from the server.

    `path` is every schema that a search_path could name; None stands for all there are.  A name without a schema
    finds what has it in any of them or in PostgreSQL's own: the order is not relied on.
    """

    version: int
    live: bool
    path: frozenset[str] | None = None
    functions: tuple[Function, ...] = ()
    operators: tuple[Operator, ...] = ()
    types: tuple[Type, ...] = ()
    casts: tuple[Cast, ...] = ()
    relations: tuple[Relation, ...] = ()

    def functions_named(self, name: str, schema: str | None = None) -> tuple[Function, ...]:
        """Return the functions of that name."""
        return _in_schema(self._functions.get(name, ()), schema, self.path)

    def operators_named(self, name: str, schema: str | None = None) -> tuple[Operator, ...]:
        """Return the operators of that name."""
        return _in_schema(self._operators.get(name, ()), schema, self.path)

    def types_named(self, name: str, schema: str | None = None) -> tuple[Type, ...]:
        """Return the types of that name."""
        return _in_schema(self._types.get(name, ()), schema, self.path)

    def relations_named(self, name: str, schema: str | None = None) -> tuple[Relation, ...]:
        """Return the relations of that name that have code of their own."""
        return _in_schema(self._relations.get(name, ()), schema, self.path)

    def function(self, oid: int) -> Function | None:
        """Return the function with that id."""
        return self._function_ids.get(oid)

    def type(self, oid: int) -> Type | None:
        """Return the type with that id."""
        return self._type_ids.get(oid)

    def casts_to(self, oid: int) -> tuple[Cast, ...]:
        """Return the casts that somebody made to that type."""
        return self._casts.get(oid, ()) if oid else ()

    @cached_property
    def _functions(self) -> Mapping[str, tuple[Function, ...]]:
        return _by_name(self.functions)

    @cached_property
    def _operators(self) -> Mapping[str, tuple[Operator, ...]]:
        return _by_name(self.operators)

    @cached_property
    def _types(self) -> Mapping[str, tuple[Type, ...]]:
        return _by_name(self.types)

    @cached_property
    def _relations(self) -> Mapping[str, tuple[Relation, ...]]:
        return _by_name(self.relations)

    @cached_property
    def _casts(self) -> Mapping[int, tuple[Cast, ...]]:
        found: defaultdict[int, list[Cast]] = defaultdict(list)
        for cast in self.casts:
            found[cast.target].append(cast)
        return {target: tuple(same) for target, same in found.items()}

    @cached_property
    def _function_ids(self) -> Mapping[int, Function]:
        return {one.oid: one for one in self.functions if one.oid}

    @cached_property
    def _type_ids(self) -> Mapping[int, Type]:
        return {one.oid: one for one in self.types if one.oid}


def _by_name(items: Iterable[_Item]) -> Mapping[str, tuple[_Item, ...]]:
    found: defaultdict[str, list[_Item]] = defaultdict(list)
    for item in items:
        found[item.name].append(item)
    return {name: tuple(same) for name, same in found.items()}


def _in_schema(
    items: tuple[_Item, ...], schema: str | None, path: frozenset[str] | None
) -> tuple[_Item, ...]:
    if schema is None:
        return tuple(item for item in items if path is None or item.schema in path)
    return tuple(
        item
        for item in items
        if item.schema == schema or (item.schema == ANY_SCHEMA and schema not in SYSTEM_SCHEMAS)
    )
