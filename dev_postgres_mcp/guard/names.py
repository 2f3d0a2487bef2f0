"""What names stand for: functions, operators, types and relations, and the code that users have put behind them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from dev_postgres_mcp.guard.catalogue import CORE
from dev_postgres_mcp.guard.grammar import parse_statements
from dev_postgres_mcp.guard.rules import (
    TYPE_BY_NAME,
    explain_function,
    object_to_foreign_table,
    object_to_function,
    object_to_relation,
    object_to_setting,
)
from dev_postgres_mcp.guard.statements import describe_statement
from dev_postgres_mcp.guard.verdicts import Kind, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from dev_postgres_mcp.guard.catalogue import Catalogue, Function, Relation, Type
    from dev_postgres_mcp.guard.grammar import Node

    Walk = Callable[[str, Node, int], None]

_MOST_CODE = 20
"""How many functions, views and conditions may stand behind one another."""
_ROW_TYPES = frozenset({"c", "p"})


class NameJudge:
    """Judges what a name stands for.  What users wrote in SQL is walked as the statement itself is."""

    def __init__(self, catalogue: Catalogue, walk: Walk, known: dict[Hashable, str | None]) -> None:
        """Look names up in `catalogue`; `walk` raises Refused for what a piece of code may not have.

        `known` holds what was found out before, also for others who judge by the same catalogue.
        """
        self._catalogue = catalogue
        self._walk = walk
        self._known = known
        self._trail: list[Hashable] = []

    def check_call(
        self, name: str, schema: str | None, *, count: int | None, given: Sequence[Node], location: int
    ) -> None:
        """Raise Refused unless every function that such a call could mean is harmless."""
        functions = self._catalogue.functions_named(name, schema)
        types = self._catalogue.types_named(name, schema)  # a cast, or the maker of a range
        if not functions and not types:
            raise Refused(Kind.FUNCTION, self._unknown(f"function {name}", explain_function(name)), location)
        matching = [one for one in functions if count is None or one.accepts(count)] or functions
        for function in matching:
            if objection := self._object_to_function(function):
                raise Refused(Kind.FUNCTION, f"The function {name} {objection}.", location)
        for one in types:
            self._check_one_type(one, location)
        if name == "current_setting" or name in TYPE_BY_NAME:
            self._check_text(name, given, location)

    def check_former_call(self, name: str, location: int) -> None:
        """Raise Refused when a user's function of a name that is syntax by now is not harmless."""
        for function in self._catalogue.functions_named(name):
            if function.origin != CORE and (objection := self._object_to_function(function)):
                raise Refused(Kind.FUNCTION, f"The function {name} {objection}.", location)

    def check_attribute(self, name: str, *, of_row: bool, location: int) -> None:
        """Raise Refused when `.name` could be a call of a harmful function, or a cast to a harmful type.

        With a table's name before it only a function that takes a row can be meant, and is seldom; else any is.
        """
        for function in self._catalogue.functions_named(name):
            if of_row and not (function.accepts(1) and self._takes_row(function)):
                continue
            if objection := self._object_to_function(function):
                raise Refused(
                    Kind.FUNCTION, f"The attribute {name} is a function that {objection}.", location
                )
        for one in self._catalogue.types_named(name):
            self._check_one_type(one, location)

    def check_operator(self, name: str, schema: str | None, location: int) -> None:
        """Raise Refused unless the function behind every operator of that name is harmless."""
        operators = self._catalogue.operators_named(name, schema)
        if not operators:
            raise Refused(Kind.OPERATOR, self._unknown(f"operator {name}"), location)
        for operator in operators:
            if objection := self._object_to_oid(operator.function):
                raise Refused(Kind.OPERATOR, f"The function of the operator {name} {objection}.", location)

    def check_type(self, name: str, schema: str | None, location: int) -> None:
        """Raise Refused unless reading a value of every type of that name is harmless."""
        types = self._catalogue.types_named(name, schema)
        if not types:
            raise Refused(Kind.TYPE, self._unknown(f"type {name}"), location)
        for one in types:
            self._check_one_type(one, location)

    def check_relation(self, name: str, schema: str | None, location: int) -> None:
        """Raise Refused when reading a relation of that name would run harmful code or show secrets."""
        if objection := object_to_relation(name, schema):
            raise Refused(Kind.RELATION, f"The relation {name} {objection}.", location)
        for relation in self._catalogue.relations_named(name, schema):
            if objection := self._once(relation, partial(self._look_at_relation, relation)):
                raise Refused(Kind.RELATION, f"The relation {name} {objection}.", location)

    def _check_one_type(self, one: Type, location: int) -> None:
        if objection := self._object_to_type(one):
            raise Refused(Kind.TYPE, f"The type {one.name} {objection}.", location)

    def _check_text(self, name: str, given: Sequence[Node], location: int) -> None:
        """Judge what a function is told by name: as a constant, or else not at all."""
        which = 0 if name == "current_setting" else 1
        constant = given[which].get("A_Const", {}).get("sval") if len(given) > which else None
        text = constant.get("sval", "") if constant is not None else None
        if name == "current_setting":
            if objection := object_to_setting(text or ""):
                raise Refused(Kind.SETTING, f"The setting {text} {objection}.", location)
        elif text is None or not self._is_core_type(text):
            reason = (
                f"The function {name} reads a value of any type; give it a type of PostgreSQL's own by name."
            )
            raise Refused(Kind.FUNCTION, reason, location)

    def _is_core_type(self, name: str) -> bool:
        """Return whether a text names nothing but a type of PostgreSQL's own."""
        try:
            (statement,) = parse_statements(f"SELECT NULL::{name}")
            (target,) = statement["stmt"]["SelectStmt"]["targetList"]
            names = target["ResTarget"]["val"]["TypeCast"]["typeName"]["names"]
        except (Refused, ValueError, KeyError):
            return False
        *schema, last = [one["String"]["sval"] for one in names]
        types = self._catalogue.types_named(last, schema[-1] if schema else None)
        return bool(types) and all(one.origin == CORE for one in types)

    def _takes_row(self, function: Function) -> bool:
        """Return whether a function could be called with a whole row."""
        first = function.arguments[0] if function.arguments else ""
        types = self._catalogue.types_named(first)
        return not types or any(one.kind in _ROW_TYPES for one in types)

    def _object_to_function(self, function: Function) -> str | None:
        if objection := object_to_function(function):
            return objection
        if function.origin:
            return None
        return self._once(function, lambda: self._look_into_function(function))

    def _look_into_function(self, function: Function) -> str | None:
        for part in function.parts:
            if objection := self._object_to_oid(part):
                return f"has a part that {objection}"
        if function.language == "internal":
            return None
        if function.body is None:
            return None if function.parts else "has no body that can be judged"
        if function.atomic:
            return self._object_to_code(f"CREATE FUNCTION f() RETURNS void LANGUAGE sql {function.body}")
        return self._object_to_code(function.body)

    def _object_to_oid(self, oid: int) -> str | None:
        if not oid:
            return None
        function = self._catalogue.function(oid)
        return self._object_to_function(function) if function else "is not known"

    def _object_to_type(self, one: Type) -> str | None:
        casts = (self._object_to_oid(cast.function) for cast in self._catalogue.casts_to(one.oid))
        if objection := _first(casts):
            return f"has a cast to it that {objection}"
        if one.origin == CORE:
            return None
        return self._once(one, lambda: self._look_into_type(one))

    def _look_into_type(self, one: Type) -> str | None:
        if one.kind == "b" and not one.origin:
            return "reads its values by a function that cannot be judged"
        for oid in one.functions:
            function = self._catalogue.function(oid)
            if function is None or function.origin == CORE:
                continue  # PostgreSQL's own here are those that it compares with
            if objection := self._object_to_function(function):
                return f"has a function that {objection}"
        for check in one.checks:
            if objection := self._object_to_code(f"SELECT ({check})"):
                return f"has a condition that {objection}"
        parts = (self._catalogue.type(oid) for oid in one.parts)
        return _first(
            self._object_to_type(part) if part else "has a part that is not known" for part in parts
        )

    def _look_at_relation(self, relation: Relation) -> str | None:
        if objection := object_to_foreign_table(relation):
            return objection
        if relation.query is not None and (objection := self._object_to_code(relation.query)):
            return f"is a view that {objection}"
        conditions = (self._object_to_code(f"SELECT ({policy})") for policy in relation.policies)
        found = _first(conditions)
        return f"has a row security policy that {found}" if found else None

    def _object_to_code(self, code: str) -> str | None:
        """Return what is wrong with SQL that somebody has stored."""
        try:
            for statement in parse_statements(code):
                for kind, node in _stored_queries(statement["stmt"]):
                    self._walk(kind, node, -1)
        except Refused as exc:
            return f"cannot be used by a reader: {exc.reason.rstrip('.')}"
        return None

    def _once(self, key: Hashable, look: Callable[[], str | None]) -> str | None:
        """Look at a thing only once."""
        if key not in self._known:
            if key in self._trail or len(self._trail) >= _MOST_CODE:
                return "leads back to itself, or through too much other code"
            self._trail.append(key)
            self._known[key] = look()
            self._trail.pop()
        return self._known[key]

    def _unknown(self, what: str, guess: str = "") -> str:
        if "volatile" not in guess and guess:
            return f"The {what} {guess}."
        if self._catalogue.live:
            return f"There is no {what} on this server."
        return (
            f"The {what} is not part of PostgreSQL {self._catalogue.version};"
            " name the target whose catalogue has it, so that it can be judged."
        )


def _stored_queries(statement: Node) -> Iterable[tuple[str, Node]]:
    """Yield the queries of a function's body, whichever of its two forms that has; raises Refused for others."""
    ((kind, node),) = statement.items()
    if kind == "CreateFunctionStmt" and "sql_body" in node:
        ((kind, node),) = node["sql_body"].items()
        if kind == "ReturnStmt":
            yield from node["returnval"].items()
            return
        for block in node.get("items", []):
            for inner in block["List"].get("items", []):
                yield from _stored_queries(inner)
    elif kind == "SelectStmt":
        yield kind, node
    elif kind == "ReturnStmt":
        yield from node["returnval"].items()
    else:
        raise Refused(Kind.STATEMENT, describe_statement(kind))


def _first(objections: Iterable[str | None]) -> str | None:
    return next((one for one in objections if one), None)
