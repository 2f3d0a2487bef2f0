from __future__ import annotations

from decimal import Decimal

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction
from shop.models import Item


def test_an_item_is_stored():
    Item.objects.create(name="tea", price=Decimal("3.50"))
    assert [str(item) for item in Item.objects.all()] == ["tea, 3.50"]


def test_each_test_begins_with_an_empty_shelf():
    assert not Item.objects.exists()


def test_a_name_is_taken_once():
    Item.objects.create(name="tea", price=1)
    with pytest.raises(IntegrityError):
        Item.objects.create(name="tea", price=2)


def test_what_waits_for_a_commit_runs():
    told = []
    with transaction.atomic():
        transaction.on_commit(lambda: told.append("sold"))
    assert told == ["sold"]


def test_the_migrations_make_what_the_models_say():
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)
