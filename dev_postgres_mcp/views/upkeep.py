"""The warm pool, prepared images and sweeps, as every face shows them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import Field

from dev_postgres_mcp.views.base import View

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dev_postgres_mcp.model import Leftover, PoolStatus, PreparedImage


class SpareView(View):
    """A started, unclaimed instance."""

    id: str = Field(description="Its id, also after it is claimed.")
    version: str = Field(description="PostgreSQL major version.")
    port: int = Field(description="TCP port.")
    created_at: datetime = Field(description="When it was started.")
    maker: str = Field(description="Session that started it.")


class PoolView(View):
    """The warm pool."""

    size: int = Field(description="How many spares a server keeps.")
    spares: list[SpareView] = Field(description="Those that are there, whoever keeps them.")
    reason: str | None = Field(
        description="Why a create with the defaults finds none, and what changes that; null when it finds one."
    )


class PreparedImageView(View):
    """A local image whose cluster is initialised."""

    id: str = Field(description="Id of the image.")
    base: str = Field(description="Image that it was made from.")
    version: str = Field(description="PostgreSQL major version.")
    seed: str | None = Field(description="Name of the data in it.")
    created_at: datetime = Field(description="When it was made.")
    size_bytes: int = Field(description="Disk space that it takes beyond its base.")
    users: list[str] = Field(description="Instances that stand on it.")
    stale: bool = Field(description="Whether its base image has changed or is gone.")


class PreparedImageListView(View):
    """Prepared images."""

    images: list[PreparedImageView] = Field(description="Oldest first.")


class LeftoverView(View):
    """Something of ours that a sweep removes."""

    kind: str = Field(description="container, snapshot image, branch image or prepared image.")
    name: str = Field(description="Its name.")
    reason: str = Field(description="Why nobody needs it.")


class SweepView(View):
    """What a sweep has removed, or would remove."""

    dry_run: bool = Field(description="Whether it only looked.")
    leftovers: list[LeftoverView] = Field(description="What it found.")


def view_pool(status: PoolStatus) -> PoolView:
    """Return the view of the pool."""
    return PoolView(
        size=status.size,
        spares=[
            SpareView(
                id=spare.id,
                version=spare.version,
                port=spare.port,
                created_at=spare.created_at,
                maker=spare.maker,
            )
            for spare in status.spares
        ],
        reason=status.reason or None,
    )


def view_prepared(images: Sequence[PreparedImage]) -> PreparedImageListView:
    """Return the view of prepared images."""
    return PreparedImageListView(
        images=[
            PreparedImageView(
                id=image.id,
                base=image.base,
                version=image.version,
                seed=image.seed or None,
                created_at=image.created_at,
                size_bytes=image.size,
                users=list(image.users),
                stale=image.stale,
            )
            for image in images
        ]
    )


def view_sweep(leftovers: Sequence[Leftover], *, dry_run: bool) -> SweepView:
    """Return the view of a sweep."""
    return SweepView(
        dry_run=dry_run,
        leftovers=[LeftoverView(kind=one.kind, name=one.name, reason=one.reason) for one in leftovers],
    )
