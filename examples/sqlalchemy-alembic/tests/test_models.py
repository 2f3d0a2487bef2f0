from __future__ import annotations

from decimal import Decimal

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from models import Base, Item
from sqlalchemy import create_engine, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session


@pytest.fixture
def engine(postgres_database):
    engine = create_engine(postgres_database.sqlalchemy_url())
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine):
    with Session(engine) as session:
        yield session


def test_an_item_is_stored(session):
    session.add(Item(name="tea", price=Decimal("3.50")))
    session.commit()
    assert session.scalars(select(Item.name)).all() == ["tea"]


def test_each_test_begins_with_an_empty_shelf(session):
    assert session.scalar(select(func.count()).select_from(Item)) == 0


def test_a_name_is_taken_once(session):
    session.add_all([Item(name="tea", price=1), Item(name="tea", price=2)])
    with pytest.raises(IntegrityError):
        session.commit()


def test_the_migrations_make_what_the_models_say(engine):
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
