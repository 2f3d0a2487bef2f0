"""The tables of a shop."""

from __future__ import annotations

from django.db import models


class Item(models.Model):
    """Something on the shelf."""

    name = models.TextField(unique=True)
    price = models.DecimalField(max_digits=10, decimal_places=2)

    def __str__(self) -> str:
        """Return what stands on the label."""
        return f"{self.name}, {self.price}"
