"""The parts of a tree that a reader's statement may have: every node with every field that it may fill in.

What is not listed is refused, also what a later grammar adds.  A field that holds one kind of node without saying
which is listed with that kind, as `alias=Alias`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    Fields = Mapping[str, str]

_EXPRESSIONS = """
A_ArrayExpr: elements list_start list_end
A_Const: ival=Integer fval=Float boolval=Boolean sval=String bsval=BitString isnull
A_Expr: kind name lexpr rexpr rexpr_list_start rexpr_list_end
A_Indices: is_slice lidx uidx
A_Indirection: arg indirection
A_Star:
BitString: bsval
BoolExpr: boolop args
Boolean: boolval
BooleanTest: arg booltesttype
CaseExpr: arg args defresult
CaseWhen: expr result
CoalesceExpr: args
CollateClause: arg collname
ColumnRef: fields
Float: fval
FuncCall: funcname args agg_order agg_filter over=WindowDef agg_within_group agg_star agg_distinct func_variadic funcformat
GroupingFunc: args
Integer: ival
List: items
MinMaxExpr: op args
NamedArgExpr: arg name argnumber
NullTest: arg nulltesttype
ParamRef: number
RowExpr: args row_format
SQLValueFunction: op typmod
String: sval
SubLink: subLinkType testexpr operName subselect
TypeCast: arg typeName=TypeName
TypeName: names typmods typemod arrayBounds
"""
_QUERIES = """
Alias: aliasname colnames
CTECycleClause: cycle_col_list cycle_mark_column cycle_mark_value cycle_mark_default cycle_path_column
CTESearchClause: search_col_list search_breadth_first search_seq_column
ColumnDef: colname typeName=TypeName is_local collClause=CollateClause
CommonTableExpr: ctename aliascolnames ctematerialized ctequery search_clause=CTESearchClause cycle_clause=CTECycleClause
GroupingSet: kind content
JoinExpr: jointype isNatural larg rarg usingClause join_using_alias=Alias quals alias=Alias
RangeFunction: lateral ordinality is_rowsfrom functions alias=Alias coldeflist
RangeSubselect: lateral subquery alias=Alias
RangeTableFunc: lateral docexpr rowexpr namespaces columns alias=Alias
RangeTableFuncCol: colname typeName=TypeName for_ordinality is_not_null colexpr coldefexpr
RangeTableSample: relation method args repeatable
RangeVar: catalogname schemaname relname inh relpersistence alias=Alias
ResTarget: name val
SelectStmt: distinctClause targetList fromClause whereClause groupClause groupDistinct havingClause windowClause valuesLists sortClause limitOffset limitCount limitOption withClause=WithClause op all larg=SelectStmt rarg=SelectStmt
SetToDefault:
SortBy: node sortby_dir sortby_nulls useOp
WindowDef: name refname partitionClause orderClause frameOptions startOffset endOffset
WithClause: ctes recursive
"""
_DOCUMENTS = """
JsonAggConstructor: output=JsonOutput agg_filter agg_order over=WindowDef
JsonArgument: val=JsonValueExpr name
JsonArrayAgg: constructor=JsonAggConstructor arg=JsonValueExpr absent_on_null
JsonArrayConstructor: exprs output=JsonOutput absent_on_null
JsonArrayQueryConstructor: query output=JsonOutput format=JsonFormat absent_on_null
JsonBehavior: btype expr
JsonFormat: format_type encoding
JsonFuncExpr: op context_item=JsonValueExpr pathspec passing output=JsonOutput on_empty=JsonBehavior on_error=JsonBehavior wrapper quotes
JsonIsPredicate: expr format=JsonFormat item_type unique_keys
JsonKeyValue: key value=JsonValueExpr
JsonObjectAgg: constructor=JsonAggConstructor arg=JsonKeyValue absent_on_null unique
JsonObjectConstructor: exprs output=JsonOutput absent_on_null unique
JsonOutput: typeName=TypeName returning=JsonReturning
JsonParseExpr: expr=JsonValueExpr output=JsonOutput unique_keys
JsonReturning: format=JsonFormat
JsonScalarExpr: expr output=JsonOutput
JsonSerializeExpr: expr=JsonValueExpr output=JsonOutput
JsonTable: context_item=JsonValueExpr pathspec=JsonTablePathSpec passing columns on_error=JsonBehavior alias=Alias lateral
JsonTableColumn: coltype name typeName=TypeName pathspec=JsonTablePathSpec format=JsonFormat wrapper quotes columns on_empty=JsonBehavior on_error=JsonBehavior
JsonTablePathSpec: string name name_location
JsonValueExpr: raw_expr format=JsonFormat
XmlExpr: op name named_args args xmloption indent
XmlSerialize: xmloption expr typeName=TypeName indent
"""


def _read(text: str) -> dict[str, Fields]:
    rows = (line.partition(":") for line in text.splitlines() if line)
    return {
        name: MappingProxyType(
            {field: child for field, _, child in (part.partition("=") for part in fields.split())}
        )
        for name, _, fields in rows
    }


ALLOWED: Mapping[str, Fields] = MappingProxyType(_read(_EXPRESSIONS + _QUERIES + _DOCUMENTS))

REFUSED_FIELDS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("SelectStmt", "intoClause"): "SELECT INTO makes a table; leave INTO out.",
        ("SelectStmt", "lockingClause"): "FOR UPDATE and FOR SHARE lock rows; leave the clause out.",
        ("TypeName", "setof"): "SETOF is no type of a value; leave it out.",
        (
            "ResTarget",
            "indirection",
        ): "An assignment to a part of a column writes; select the column instead.",
    }
)
REFUSED_NODES: Mapping[str, str] = MappingProxyType(
    {
        "InsertStmt": "INSERT writes; a reader's WITH holds SELECT only.",
        "UpdateStmt": "UPDATE writes; a reader's WITH holds SELECT only.",
        "DeleteStmt": "DELETE writes; a reader's WITH holds SELECT only.",
        "MergeStmt": "MERGE writes; a reader's WITH holds SELECT only.",
        "CurrentOfExpr": "WHERE CURRENT OF belongs to an UPDATE or DELETE; name the rows by a condition.",
    }
)
EXPLAIN_OPTIONS = frozenset(
    {
        "analyze",
        "buffers",
        "costs",
        "format",
        "generic_plan",
        "memory",
        "serialize",
        "settings",
        "summary",
        "timing",
        "verbose",
        "wal",
    }
)
CALLED_BEFORE = MappingProxyType(
    {
        "FuncCall": ("json_object",),  # which the grammar by now takes for that of pg_catalog
        "JsonArrayAgg": ("json_arrayagg",),
        "JsonArrayConstructor": ("json_array",),
        "JsonArrayQueryConstructor": ("json_array",),
        "JsonFuncExpr": ("json_exists", "json_value", "json_query"),
        "JsonObjectAgg": ("json_objectagg",),
        "JsonObjectConstructor": ("json_object",),
        "JsonParseExpr": ("json",),
        "JsonScalarExpr": ("json_scalar",),
        "JsonSerializeExpr": ("json_serialize",),
        "JsonTable": ("json_table",),
    }
)
"""Syntax of later versions that is a plain call for earlier ones: of a function that anybody may have made."""
