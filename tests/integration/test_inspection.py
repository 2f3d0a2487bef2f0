"""The whole schema of a real database, on every version that is at hand, and exact row counts."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from dev_postgres_mcp.instances import build_spec
from dev_postgres_mcp.instances.differences import compare
from tests.integration.rehearsing import Database, make_database

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.model import Conninfo

pytestmark = pytest.mark.docker

EVERYTHING = """
CREATE ROLE reader;
CREATE SCHEMA "sales; --";
CREATE TYPE public.mood AS ENUM ('sad', 'o''k');
CREATE TYPE public.pair AS (a int, "b c" text);
CREATE DOMAIN public.email AS text NOT NULL CONSTRAINT has_at CHECK (VALUE LIKE '%@%');
CREATE TYPE public.span AS RANGE (SUBTYPE = float8);
CREATE TABLE public.users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number serial,
    "na""me" text COLLATE "C" NOT NULL DEFAULT 'x',
    twice int GENERATED ALWAYS AS (3 * 2) STORED,
    at timestamptz DEFAULT '2020-01-01 00:00Z',
    CHECK (id > 0)
);
CREATE TABLE public.orders (id int PRIMARY KEY, user_id bigint REFERENCES public.users ON DELETE CASCADE);
CREATE INDEX by_user ON public.orders (user_id) WHERE id > 5;
CREATE TABLE public.parts (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE public.parts_1 PARTITION OF public.parts FOR VALUES FROM (0) TO (10);
CREATE TABLE public.parent (a int);
CREATE TABLE public.child (b int) INHERITS (public.parent);
CREATE UNLOGGED TABLE "sales; --".quick (a int) WITH (fillfactor = 70);
CREATE VIEW public.names AS SELECT id, "na""me" FROM public.users;
CREATE MATERIALIZED VIEW public.one AS SELECT 1 AS one;
CREATE MATERIALIZED VIEW public.unfilled AS SELECT 1 AS one WITH NO DATA;
CREATE FUNCTION public.f(a int, b text DEFAULT 'x') RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT a; END;
CREATE PROCEDURE public.p(a int) LANGUAGE plpgsql AS 'BEGIN COMMIT; END';
CREATE AGGREGATE public.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER touched BEFORE INSERT ON public.users FOR EACH ROW EXECUTE FUNCTION public.touch();
CREATE RULE also AS ON INSERT TO public.parent DO ALSO (SELECT 1; SELECT 2);
ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON public.users FOR SELECT TO reader USING (id = 1);
GRANT SELECT ON public.users TO reader;
GRANT SELECT (id) ON public.orders TO reader;
REVOKE EXECUTE ON FUNCTION public.f FROM public;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO reader;
COMMENT ON TABLE public.users IS 'who; buys';
COMMENT ON COLUMN public.users.id IS 'key';
CREATE SEQUENCE public.tickets AS int CYCLE;
CREATE STATISTICS public.together ON id, user_id FROM public.orders;
CREATE PUBLICATION news FOR TABLE public.orders;
CREATE OPERATOR public.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
CREATE COLLATION public.plain FROM "C";
INSERT INTO public.parts SELECT i, 'x' FROM generate_series(0, 4) i;
INSERT INTO public.parent VALUES (1);
INSERT INTO public.child VALUES (1, 2), (3, 4);
"""
EXPECTED = {
    "schema public": "OWNER TO ",
    'schema "sales; --"': "OWNER TO ",
    "type public.mood": "ENUM ('sad', 'o''k')",
    "type public.pair": 'COMPOSITE (a integer, "b c" text)',
    "domain public.email": "DOMAIN OVER text NOT NULL CONSTRAINT has_at CHECK",
    "type public.span": "RANGE OF double precision",
    "column id of public.users": "bigint NOT NULL GENERATED ALWAYS AS IDENTITY",
    "column number of public.users": "integer NOT NULL DEFAULT nextval('public.users_number_seq'::regclass)",
    'column "na""me" of public.users': "text COLLATE pg_catalog.\"C\" NOT NULL DEFAULT 'x'::text",
    "column twice of public.users": "integer GENERATED ALWAYS AS ((3 * 2)) STORED",
    "column at of public.users": "timestamp with time zone DEFAULT '2020-01-01 00:00:00+00'::timestamp with time zone",
    "constraint users_pkey of public.users": "PRIMARY KEY (id)",
    "constraint users_id_check of public.users": "CHECK ((id > 0))",
    "constraint orders_user_id_fkey of public.orders": "FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE",
    "index by_user of public.orders": "CREATE INDEX by_user ON public.orders USING btree (user_id) WHERE (id > 5)",
    "table public.parts": "TABLE PARTITION BY RANGE (k)",
    "table public.parts_1": "TABLE PARTITION OF public.parts FOR VALUES FROM (0) TO (10)",
    "table public.child": "TABLE INHERITS public.parent",
    'table "sales; --".quick': "UNLOGGED TABLE WITH (fillfactor=70)",
    "view public.names": "",
    "materialized view public.one": "",
    "materialized view public.unfilled": "",
    "function public.f(integer, text)": "CREATE OR REPLACE FUNCTION public.f(a integer, b text DEFAULT 'x'::text)",
    "procedure public.p(integer)": "CREATE OR REPLACE PROCEDURE public.p(",
    "aggregate public.total(integer)": "SFUNC int4pl STYPE integer INITCOND '0'",
    "trigger touched of public.users": "CREATE TRIGGER touched BEFORE INSERT ON public.users",
    "rule also of public.parent": "CREATE RULE also AS",
    "table public.users": "TABLE ENABLE ROW LEVEL SECURITY",
    "policy own of public.users": "PERMISSIVE FOR SELECT TO reader USING ((id = 1))",
    "privileges reader of public.users": "SELECT",
    "privileges reader on id of public.orders": "SELECT",
    "privileges PUBLIC of public.p(integer)": "EXECUTE",
    "comment on table public.users of public.users": "who; buys",
    "comment on table column public.users.id of public.users": "key",
    "sequence public.tickets": "AS integer START 1 INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 CACHE 1 CYCLE",
    "statistics public.together of public.orders": "CREATE STATISTICS public.together ON id, user_id FROM public.orders",
    "publication news": "public.orders INSERT UPDATE DELETE TRUNCATE",
    "operator public.===(integer,integer)": "",
    "collation public.plain": "",
}
ABSENT = [
    "sequence public.users_id_seq",
    "index users_pkey of public.users",
    "privileges PUBLIC of public.f(integer, text)",
]


@pytest.fixture(scope="module", params=["15", "17", "18"])
def server(request: pytest.FixtureRequest, program: App) -> Conninfo:
    """A server of each version."""
    conninfo = program.manager.create(build_spec(program.defaults, version=request.param)).conninfo
    assert conninfo is not None
    return conninfo


@pytest.fixture(scope="module")
def full(server: Conninfo) -> Database:
    """A database with some of everything."""
    database = make_database(server, 'some of "everything"')
    database.execute(EVERYTHING)
    return database


COPIES = count()


def copy_database(server: Conninfo, original: Database) -> Database:
    """Return a copy that a test may change."""
    name = f"copy {next(COPIES)}"
    Database(conninfo=server).execute(f'CREATE DATABASE "{name}" TEMPLATE "some of ""everything"""')
    return Database(conninfo=original.conninfo.on(database=name))


def test_every_kind_of_object_is_seen_with_its_definition(full: Database) -> None:
    seen = full.definitions()
    assert {
        label: seen.get(label)
        for label, text in EXPECTED.items()
        if not seen.get(label, "-").startswith(text)
    } == {}
    assert [label for label in EXPECTED if label not in seen] == []
    assert [label for label in ABSENT if label in seen] == []
    assert [label for label in seen if "pg_toast" in label or "multirange" in label] == []


def test_rows_are_counted_exactly_and_partitions_by_leaf(full: Database) -> None:
    counts = full.inspect().row_counts()
    assert counts == {
        '"sales; --".quick': 0,
        "public.child": 2,
        "public.one": 1,
        "public.orders": 0,
        "public.parent": 1,
        "public.parts_1": 5,
        "public.users": 0,
    }


def test_looking_twice_sees_the_same_whatever_the_database_has_set(full: Database) -> None:
    before = full.inspect()
    name = '"some of ""everything"""'
    for setting in (
        "datestyle = 'German'",
        "timezone = 'Asia/Tokyo'",
        "quote_all_identifiers = on",
        "search_path = public",
    ):
        full.execute(f"ALTER DATABASE {name} SET {setting}")
    try:
        assert not compare(before, full.inspect())
    finally:
        full.execute(f"ALTER DATABASE {name} RESET ALL")


def test_what_an_extension_brought_is_the_extension(server: Conninfo) -> None:
    database = make_database(server, "extended")
    before = database.inspect()
    database.execute("CREATE EXTENSION hstore")
    (change,) = compare(before, database.inspect()).schema
    assert change.identity.label() == "extension hstore"
    assert change.after.startswith("VERSION ")


def test_an_untouched_database_holds_next_to_nothing(server: Conninfo) -> None:
    assert sorted(make_database(server, "untouched").definitions()) == [
        "extension plpgsql",
        "privileges PUBLIC of public",
        "schema public",
    ]


@pytest.mark.parametrize(
    "script, summary",
    [
        ("ALTER TABLE users RENAME COLUMN at TO since", "added column since of public.users"),
        (
            "ALTER TABLE orders ALTER user_id SET NOT NULL",
            "altered column user_id of public.orders: bigint -> bigint NOT NULL",
        ),
        ("ALTER TABLE users DISABLE TRIGGER touched", "altered trigger touched of public.users"),
        (
            "GRANT INSERT ON users TO reader",
            "altered privileges reader of public.users: SELECT -> INSERT, SELECT",
        ),
        (
            "REVOKE EXECUTE ON PROCEDURE p FROM public",
            "removed privileges PUBLIC of public.p(integer): EXECUTE",
        ),
        (
            "COMMENT ON TABLE users IS NULL",
            "removed comment on table public.users of public.users: who; buys",
        ),
        (
            'CREATE OR REPLACE VIEW names AS SELECT id, "na""me", 1 AS n FROM users',
            "altered view public.names",
        ),
        ("ALTER SEQUENCE tickets INCREMENT 2", "altered sequence public.tickets"),
        ("ALTER DOMAIN email DROP NOT NULL", "altered domain public.email"),
        ("DROP FUNCTION f", "removed function public.f(integer, text)"),
        ("ALTER TABLE parts DETACH PARTITION parts_1", "altered table public.parts_1"),
        ("REFRESH MATERIALIZED VIEW unfilled", "altered materialized view public.unfilled"),
        ("ALTER TABLE parent OWNER TO reader", "altered table public.parent"),
    ],
)
def test_a_change_is_told_as_one_line(server: Conninfo, full: Database, script: str, summary: str) -> None:
    copy = copy_database(server, full)
    lines = [change.summary() for change in copy.rehearse(script).changes.schema]
    assert [line for line in lines if line.startswith(summary)], lines
    assert len(lines) <= 2
