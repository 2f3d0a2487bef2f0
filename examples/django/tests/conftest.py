from __future__ import annotations

import os

import django
import pytest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()


@pytest.fixture(autouse=True)
def database(postgres_database):
    """Have Django work on the database of this test."""
    from django.db import connection

    connection.close()
    connection.settings_dict.update(postgres_database.django_settings())
    yield postgres_database
    connection.close()
