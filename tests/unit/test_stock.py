"""Templates in stock, on the in-memory engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dev_postgres_mcp.databases.stock import MOST_SNAPSHOTS, Stock
from dev_postgres_mcp.instances import build_spec
from tests.helpers.acts import create

if TYPE_CHECKING:
    from dev_postgres_mcp.app import App

HERE, ELSEWHERE = Path("/work/shop"), Path("/work/bank")


def names(app: App) -> list[str]:
    return [one.name.split("-")[2] for one in app.snapshots.list()]


def test_what_is_kept_is_branched_by_any_project_with_the_password_and_limits_asked_for(app: App) -> None:
    stock, source = Stock(app.snapshots), create(app)
    spec = build_spec(app.defaults, memory="256m", ttl="1h", labels={"a": "b"})
    assert stock.branch("abc", spec, progress=lambda _: None) is None
    stock.keep(source.id, "abc", project=HERE, ttl=60)
    branch = stock.branch("abc", spec, progress=lambda _: None)
    assert branch is not None
    assert branch.conninfo is not None
    assert branch.conninfo.password == spec.password
    assert branch.limits == spec.limits
    assert branch.labels == {"a": "b"}
    assert stock.branch("ab", spec, progress=lambda _: None) is None


def test_a_newer_one_takes_the_place_of_an_older_one_that_nobody_stands_on(app: App) -> None:
    stock, source = Stock(app.snapshots), create(app)
    stock.keep(source.id, "abc", project=HERE, ttl=None)
    stock.branch("abc", build_spec(app.defaults), progress=lambda _: None)
    stock.keep(source.id, "abc", project=HERE, ttl=None)
    assert names(app) == ["abc", "abc"], "somebody stands on the first"
    stock.keep(source.id, "abc", project=HERE, ttl=None)
    assert names(app) == ["abc", "abc"]


def test_a_project_has_only_a_few_and_touches_no_others(app: App) -> None:
    stock, source = Stock(app.snapshots), create(app)
    app.snapshots.take(source.id, "pytest-of-mine")
    stock.keep(source.id, "other", project=ELSEWHERE, ttl=None)
    for number in range(MOST_SNAPSHOTS + 2):
        stock.keep(source.id, f"d{number}", project=HERE, ttl=None)
    assert names(app) == ["mine", "other", *(f"d{number}" for number in range(2, MOST_SNAPSHOTS + 2))]


def test_what_cannot_be_kept_costs_time_and_no_run(app: App) -> None:
    Stock(app.snapshots).keep("absent", "abc", project=HERE, ttl=None)
    assert app.snapshots.list() == ()
