"""The judge: walks the whole tree of a text and asks for each part whether a reader's statement may have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dev_postgres_mcp.guard.grammar import character, parse_statements
from dev_postgres_mcp.guard.names import NameJudge
from dev_postgres_mcp.guard.nodes import ALLOWED, CALLED_BEFORE, REFUSED_FIELDS, REFUSED_NODES
from dev_postgres_mcp.guard.rules import SAMPLING_METHODS, object_to_setting
from dev_postgres_mcp.guard.statements import check_explain, describe_statement
from dev_postgres_mcp.guard.verdicts import Kind, Refused, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from dev_postgres_mcp.guard.catalogue import Catalogue
    from dev_postgres_mcp.guard.grammar import Node

    Part = tuple[str, Node, int]

_ADMITTED = {
    Kind.QUERY: "It only reads.",
    Kind.EXPLAIN: "It explains a statement that only reads.",
    Kind.SHOW: "It shows a setting.",
}


class Guard:
    """Judges by one catalogue.  Keeps what it has found out about functions, types and views; safe on any thread."""

    def __init__(self, catalogue: Catalogue) -> None:
        """Judge by `catalogue`."""
        self._catalogue = catalogue
        self._known: dict[Hashable, str | None] = {}

    def judge(self, sql: str) -> Verdict:
        """Say whether a reader may run this text: exactly one statement, which only reads.  Never raises."""
        try:
            kind = _Walker(self._catalogue, self._known).judge(sql)
        except Refused as exc:
            where = character(sql, exc.location)
            return Verdict(admitted=False, reason=exc.reason, kind=exc.kind, position=where)
        except (KeyError, TypeError, ValueError):
            reason = "The statement has a form that is not known; write it more simply."
            return Verdict(admitted=False, reason=reason, kind=Kind.SYNTAX)
        return Verdict(admitted=True, reason=_ADMITTED[kind], kind=kind)


class _Walker:
    """Judges one text."""

    def __init__(self, catalogue: Catalogue, known: dict[Hashable, str | None]) -> None:
        self._names = NameJudge(catalogue, self._walk, known)
        self._checks: dict[str, Callable[[Node, int], None]] = {
            "A_Expr": self._check_expression,
            "A_Indirection": self._check_indirection,
            "CaseExpr": self._check_case,
            "ColumnRef": self._check_column,
            "FuncCall": self._check_call,
            "JoinExpr": self._check_join,
            "RangeTableSample": self._check_sample,
            "RangeVar": self._check_relation,
            "SortBy": self._check_sorting,
            "SubLink": self._check_subquery,
            "TypeName": self._check_type,
        }

    def judge(self, sql: str) -> Kind:
        statements = parse_statements(sql)
        if not statements:
            raise Refused(Kind.STATEMENT, "There is no statement in it; send one.")
        if len(statements) > 1:
            second = int(statements[1].get("stmt_location", 0))
            raise Refused(
                Kind.STATEMENT, f"There are {len(statements)} statements in it; send one at a time.", second
            )
        ((name, node),) = statements[0]["stmt"].items()
        location = int(statements[0].get("stmt_location", 0))
        if name == "SelectStmt":
            self._walk(name, node, -1)
            return Kind.QUERY
        if name == "ExplainStmt":
            self._walk(*check_explain(node), -1)
            return Kind.EXPLAIN
        if name == "VariableShowStmt":
            if objection := object_to_setting(node["name"]):
                raise Refused(Kind.SETTING, f"The setting {node['name']} {objection}.", location)
            return Kind.SHOW
        raise Refused(Kind.STATEMENT, describe_statement(name), location)

    def _walk(self, name: str, node: Node, location: int) -> None:
        """Check a node and all below it; raises Refused with the first thing that may not be."""
        parts: list[Part] = [(name, node, location)]
        while parts:
            name, node, location = parts.pop()
            own = node.get("location", -1)
            location = own if own >= 0 else location
            if name not in ALLOWED:
                unknown = REFUSED_NODES.get(name, f"A reader's statement cannot have this part ({name}).")
                raise Refused(Kind.CLAUSE, unknown, _locate(node, location))
            for called in CALLED_BEFORE.get(name, ()) if name != "FuncCall" else ():
                self._names.check_former_call(called, location)
            if check := self._checks.get(name):
                check(node, location)
            parts.extend(reversed(tuple(_children(name, node, location))))

    def _check_call(self, node: Node, location: int) -> None:
        *schema, name = _strings(node["funcname"])
        if name in CALLED_BEFORE["FuncCall"]:
            self._names.check_former_call(name, location)
        given: list[Node] = node.get("args", [])
        counted = not node.get("agg_within_group") and not node.get("func_variadic")
        self._names.check_call(
            name, _last(schema), count=len(given) if counted else None, given=given, location=location
        )

    def _check_column(self, node: Node, location: int) -> None:
        *before, last = node["fields"]
        if before and "String" in last:
            self._names.check_attribute(last["String"].get("sval", ""), of_row=True, location=location)

    def _check_indirection(self, node: Node, location: int) -> None:
        for part in node["indirection"]:
            if "String" in part:
                self._names.check_attribute(part["String"].get("sval", ""), of_row=False, location=location)

    def _check_expression(self, node: Node, location: int) -> None:
        *schema, name = _strings(node["name"])
        between = "BETWEEN" in node.get("kind", "")
        for operator in (">=", "<=") if between else (name,):
            self._names.check_operator(operator, _last(schema), location)

    def _check_sorting(self, node: Node, location: int) -> None:
        if "useOp" in node:
            *schema, name = _strings(node["useOp"])
            self._names.check_operator(name, _last(schema), location)

    def _check_subquery(self, node: Node, location: int) -> None:
        if "operName" in node:
            *schema, name = _strings(node["operName"])
            self._names.check_operator(name, _last(schema), location)
        elif "testexpr" in node:
            self._names.check_operator("=", None, location)

    def _check_case(self, node: Node, location: int) -> None:
        if "arg" in node:
            self._names.check_operator("=", None, location)

    def _check_join(self, node: Node, location: int) -> None:
        if node.get("isNatural") or "usingClause" in node:
            self._names.check_operator("=", None, location)

    def _check_sample(self, node: Node, location: int) -> None:
        name = _strings(node["method"])[-1]
        if name not in SAMPLING_METHODS:
            raise Refused(Kind.FUNCTION, f"The sampling method {name} is not known; use system.", location)

    def _check_relation(self, node: Node, location: int) -> None:
        self._names.check_relation(node["relname"], node.get("schemaname"), location)

    def _check_type(self, node: Node, location: int) -> None:
        *schema, name = _strings(node["names"])
        self._names.check_type(name, _last(schema), location)


def _children(name: str, node: Node, location: int) -> Iterator[Part]:
    """Yield the nodes below one, each with its kind; raises Refused for a field that is not listed."""
    fields = ALLOWED[name]
    for field, value in node.items():
        if field == "location":
            continue
        if field not in fields:
            reason = REFUSED_FIELDS.get(
                (name, field), f"A reader's statement cannot have this ({name}.{field})."
            )
            raise Refused(Kind.CLAUSE, reason, _locate(value, location))
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, dict) and item:
                yield _unwrap(item, fields[field], location)


def _unwrap(item: Node, kind: str, location: int) -> Part:
    if kind:
        return kind, item, location
    ((name, node),) = item.items()
    return name, node, location


def _locate(value: Any, location: int) -> int:  # noqa: ANN401 - whatever a field of a tree holds
    """Return where the first thing with a place in a piece of a tree stands, else `location`."""
    places, parts = [], [value]
    while parts:
        part = parts.pop()
        if isinstance(part, list):
            parts.extend(part)
        elif isinstance(part, dict):
            places.append(part.get("location", -1))
            parts.extend(part.values())
    return min((place for place in places if place >= 0), default=location)


def _strings(names: list[Any]) -> list[str]:
    return [name["String"].get("sval", "") for name in names]


def _last(schema: list[str]) -> str | None:
    return schema[-1] if schema else None
