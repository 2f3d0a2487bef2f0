"""What changed between two looks at a database."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dev_postgres_mcp.changes import Change, Effect, Identity, Inspection, RowsChanged, Schema, TableState
from dev_postgres_mcp.instances.differences import compare

USERS = Identity(kind="table", name="public.users")
EMAIL = Identity(part_of="public.users", kind="column", name="email")
KEY = Identity(part_of="public.users", kind="constraint", name="users_pkey")


def database(objects: dict[Identity, str] | None = None, **tables: TableState) -> Inspection:
    return Inspection(schema=Schema(objects=objects or {}), tables=tables)


def table(
    rows: int = 0, *, oid: int = 1, filenode: int = 1, written: tuple[int, int, int] = (0, 0, 0)
) -> TableState:
    inserted, updated, deleted = written
    return TableState(
        oid=oid, filenode=filenode, rows=rows, inserted=inserted, updated=updated, deleted=deleted
    )


def test_a_part_that_came_is_said_alone() -> None:
    changes = compare(database({USERS: "TABLE"}), database({USERS: "TABLE", EMAIL: "text NOT NULL"}))
    assert changes.schema == (Change(effect=Effect.ADDED, identity=EMAIL, after="text NOT NULL"),)
    assert changes.schema[0].summary() == "added column email of public.users: text NOT NULL"


def test_an_altered_part_shows_both_sides() -> None:
    changes = compare(database({USERS: "TABLE", EMAIL: "text"}), database({USERS: "TABLE", EMAIL: "citext"}))
    assert changes.schema == (Change(effect=Effect.ALTERED, identity=EMAIL, before="text", after="citext"),)
    assert changes.schema[0].summary() == "altered column email of public.users: text -> citext"


def test_the_parts_of_a_new_table_are_lines_of_it() -> None:
    (change,) = compare(database(), database({USERS: "TABLE", KEY: "PRIMARY KEY (id)", EMAIL: "text"})).schema
    assert (change.effect, change.identity) == (Effect.ADDED, USERS)
    assert change.after == "TABLE\n  column email text\n  constraint users_pkey PRIMARY KEY (id)"


def test_a_table_that_became_a_view_went_and_came() -> None:
    view = Identity(kind="view", name="public.users")
    changes = compare(database({USERS: "TABLE", EMAIL: "text"}), database({view: "SELECT 1"})).schema
    assert [(change.effect, change.identity) for change in changes] == [
        (Effect.REMOVED, USERS),
        (Effect.ADDED, view),
    ]
    assert changes[0].before == "TABLE\n  column email text"


def test_a_long_definition_is_one_short_line_of_a_summary() -> None:
    function = Identity(kind="function", name="public.f()")
    (change,) = compare(database(), database({function: "CREATE\n  FUNCTION " + "x" * 1000})).schema
    assert change.summary().startswith("added function public.f(): CREATE FUNCTION xxx")
    assert len(change.summary()) < 300


def test_what_has_no_definition_has_a_summary() -> None:
    operator = Identity(kind="operator", name="public.===(integer,integer)")
    (change,) = compare(database({operator: ""}), database()).schema
    assert change.summary() == "removed operator public.===(integer,integer)"


def test_rows_that_were_updated_are_seen_though_none_came_or_went() -> None:
    changes = compare(database(t=table(5, written=(5, 1, 0))), database(t=table(5, written=(5, 4, 0))))
    assert changes.rows == (RowsChanged(table="t", before=5, after=5, inserted=0, updated=3, deleted=0),)


def test_a_table_that_came_or_went_says_its_rows() -> None:
    changes = compare(database(old=table(7, oid=1)), database(new=table(2, oid=2, written=(2, 0, 0))))
    assert changes.rows == (
        RowsChanged(table="new", before=None, after=2, inserted=2, updated=0, deleted=0),
        RowsChanged(table="old", before=7, after=None),
    )


def test_an_empty_table_that_came_or_went_changed_no_rows() -> None:
    assert compare(database(old=table(oid=1)), database(new=table(oid=2))).rows == ()


def test_a_table_made_again_under_its_name_counts_from_nothing() -> None:
    (rows,) = compare(
        database(t=table(9, oid=1, written=(9, 0, 0))), database(t=table(3, oid=2, written=(3, 0, 0)))
    ).rows
    assert rows == RowsChanged(table="t", before=9, after=3, inserted=3, updated=0, deleted=0)


def test_counters_that_were_reset_or_rolled_back_say_nothing() -> None:
    before, after = database(t=table(9, written=(9, 9, 0))), database(t=table(8, written=(0, 10, 1)))
    assert compare(before, after).rows[0].inserted is None
    (rows,) = compare(before, after.without_counters()).rows
    assert rows == RowsChanged(table="t", before=9, after=8)


def test_a_new_file_of_the_same_table_is_a_rewrite_also_under_a_new_name() -> None:
    before = database(a=table(oid=1, filenode=1), b=table(oid=2, filenode=2), c=table(oid=3, filenode=3))
    after = database(a=table(oid=1, filenode=9), b2=table(oid=2, filenode=8), c=table(oid=4, filenode=7))
    assert compare(before, after).rewritten == ("a", "b2")


names = st.sampled_from(["a", "b", "c"])
identities = st.builds(
    Identity, part_of=st.one_of(st.just(""), names), kind=st.sampled_from(["table", "index"]), name=names
)
inspections = st.dictionaries(identities, st.sampled_from(["x", "y"])).map(
    lambda objects: database({key: text for key, text in objects.items() if _has_whole(key, objects)})
)


def _has_whole(identity: Identity, objects: dict[Identity, str]) -> bool:
    return not identity.part_of or Identity(kind="table", name=identity.part_of) in objects


@given(inspections)
def test_nothing_changed_between_a_database_and_itself(one: Inspection) -> None:
    assert not compare(one, one)


@given(inspections, inspections)
def test_two_different_schemas_always_differ_and_the_way_back_mirrors_it(
    one: Inspection, two: Inspection
) -> None:
    there, back = compare(one, two).schema, compare(two, one).schema
    assert bool(there) == (one.schema != two.schema)
    opposite = {Effect.ADDED: Effect.REMOVED, Effect.REMOVED: Effect.ADDED, Effect.ALTERED: Effect.ALTERED}
    assert {(opposite[change.effect], change.identity, change.after, change.before) for change in there} == {
        (change.effect, change.identity, change.before, change.after) for change in back
    }
