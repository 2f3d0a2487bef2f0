"""The guard against a real server: what it admits has no effect, and what people write is admitted."""

from __future__ import annotations

import shutil
from contextlib import closing
from math import inf
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dev_postgres_mcp.deadline import Deadline
from dev_postgres_mcp.errors import InstanceNotFound
from dev_postgres_mcp.guard.judging import Guard
from dev_postgres_mcp.guard.verdicts import Kind
from dev_postgres_mcp.sql.catalogue import PsycopgCatalogueSql
from tests.guard.corpora import load_fixtures, load_samples
from tests.guard.effects import Scale
from tests.guard.mutations import is_rewritable, rewritten, wrapped
from tests.guard.reading import Reader
from tests.guard.report import missed_targets, run_corpus
from tests.guard.servers import Server, open_server
from tests.helpers.embedded import EmbeddedStage
from tests.helpers.stages import build_app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hypothesis.strategies import DataObject

SAMPLES = tuple(sample for sample in load_samples() if sample.group != "exhaustion")
QUERIES = [sample.sql for sample in SAMPLES if is_rewritable(sample.sql)]
FURNITURE = "CREATE ROLE reader LOGIN; CREATE DATABASE app;\n\\c app\n"
BUDGET = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def server(prepared_ground: Path) -> Iterator[Server]:
    stage = EmbeddedStage()
    shutil.copytree(prepared_ground, stage.options.directory)
    with open_server(build_app(stage), stage.version, load_fixtures(), memory="512m") as server:
        yield server
    stage.close()


@pytest.fixture(scope="module")
def guard(server: Server) -> Guard:
    return Guard(PsycopgCatalogueSql().read(server.admin, deadline=Deadline(inf)))


@pytest.fixture
def reader(server: Server) -> Iterator[Reader]:
    with closing(Reader(server)) as reader:
        yield reader


@pytest.fixture
def scale(server: Server, reader: Reader) -> Iterator[Scale]:
    with closing(Scale(server, reader)) as scale:
        yield scale


def test_the_corpus_meets_every_target(server: Server) -> None:
    results = list(run_corpus(server, SAMPLES))
    assert missed_targets(results) == []
    assert [result.sample.sql for result in results if result.falsely_refused] == []


@pytest.mark.parametrize(
    "sql, effect",
    [
        ("SELECT pg_advisory_lock(42)", "locks"),
        ("SELECT set_config('work_mem', '99MB', false)", None),
        ("SELECT sneaky_lock(5)", "locks"),
        ("SELECT loud('x'::text)", "said 'loud'"),
        ("SELECT txid_current()", "next transaction"),
        ("SELECT * FROM leaky_secdef()", "leak of tok_123"),
    ],
)
def test_the_scale_sees_what_the_other_locks_let_through(
    guard: Guard, reader: Reader, scale: Scale, sql: str, effect: str | None
) -> None:
    assert not guard.judge(sql).admitted
    effects = scale.weigh(reader.run(sql, Kind.QUERY))
    assert effects == () if effect is None else effect in effects


@BUDGET
@given(st.data())
def test_however_it_is_written_what_is_admitted_has_no_effect(
    guard: Guard, reader: Reader, scale: Scale, data: DataObject
) -> None:
    sql = data.draw(st.sampled_from(QUERIES))
    other = data.draw(rewritten(data.draw(wrapped(sql))))
    verdict = guard.judge(other)
    if verdict.admitted:
        assert scale.weigh(reader.run(other, verdict.kind)) == (), other


def test_the_live_catalogue_knows_what_the_packaged_one_cannot(guard: Guard) -> None:
    assert guard.judge("SELECT pure_add(1, 2), 'ok'::mood, similarity('a', 'b')").admitted
    assert guard.judge("SELECT initcap('a')").admitted, "what shadows it is on nobody's search_path"
    assert not guard.judge("SELECT shadow.initcap('a')").admitted
    assert not guard.judge("SELECT onpath('a')").admitted, "it is on the reader's"


def test_a_target_is_an_instance(embedded_stage: EmbeddedStage) -> None:
    app = build_app(embedded_stage)
    with open_server(app, embedded_stage.version, (FURNITURE,), memory="512m"):
        (instance,) = app.manager.list().instances
        assert app.checker.open_guard(instance.id, deadline=Deadline(inf)).judge("SELECT 1").admitted
    with pytest.raises(InstanceNotFound):
        app.checker.open_guard(instance.id, deadline=Deadline(inf))
