"""The images that we make: clusters prepared once, and clusters frozen as snapshots.  Labels say what each is.

No image holds a secret: passwords lie on a tmpfs, and a prepared cluster has none at all.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import docker.errors

from dev_postgres_mcp.errors import EngineFailed
from dev_postgres_mcp.model import Limits, Progress
from dev_postgres_mcp.runtimes.base import Container, Image, Kind, StoredImage
from dev_postgres_mcp.runtimes.docker.building import REPOSITORY, UNFINISHED, Builder
from dev_postgres_mcp.runtimes.docker.container import (
    ID_LABEL,
    KIND_LABEL,
    LABEL,
    USER_LABEL,
    read_moment,
    read_settings,
)
from dev_postgres_mcp.runtimes.docker.files import load_scripts
from dev_postgres_mcp.runtimes.docker.images import read_image
from dev_postgres_mcp.runtimes.turns import take_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import InitFile
    from dev_postgres_mcp.runtimes.base import Freeze
    from dev_postgres_mcp.runtimes.docker.discovery import Api
    from dev_postgres_mcp.runtimes.docker.engine import EngineConnection
    from dev_postgres_mcp.runtimes.docker.files import ServerUser
    from dev_postgres_mcp.runtimes.docker.freezing import Freezer
    from dev_postgres_mcp.runtimes.docker.launching import Launcher

FORMAT = "1"
"""Changes when a cluster prepared by an older program would not do any more."""
MAX_LAYERS = 100
"""Overlay engines stop at 125 or so; beyond this a snapshot stands on the base image again."""


class ImageStore:
    """Our images on one engine.  Thread-safe; processes of one machine take turns in preparing."""

    def __init__(
        self,
        connection: EngineConnection,
        launcher: Launcher,
        freezer: Freezer,
        lock_directory: Path,
        *,
        max_layers: int = MAX_LAYERS,
    ) -> None:
        """Work through `connection`; fill containers as `launcher` does, and freeze servers by `freezer`."""
        self._connection = connection
        self._freezer = freezer
        self._builder = Builder(connection, launcher)
        self._locks = lock_directory
        self._max_layers = max_layers

    def find_prepared(self, base: Image, seed: str, *, deadline: Deadline | None) -> Image | None:
        """Return the prepared image, None when there is none."""
        ref = prepared_ref(base, seed)
        with self._connection.calling(f"looking for {ref}", deadline=deadline) as api:
            try:
                details = api.inspect_image(ref)
            except docker.errors.ImageNotFound:
                return None
        image = read_image(base.ref, details)
        # Without our labels it is nothing that can be started from.
        return image if image.prepared else None

    def prepare(
        self,
        base: Image,
        seed: str,
        init: tuple[InitFile, ...],
        *,
        progress: Callable[[Progress], None],
        deadline: Deadline,
    ) -> Image:
        """Make it: run the image once, stop cleanly, commit; the tag comes last."""
        key = prepared_key(base, seed)
        with take_turn(self._locks / f"prepare-{key}.lock", deadline, f"preparing {base.ref}"):
            if not init and (found := self.find_prepared(base, seed, deadline=deadline)):
                return found
            self._builder.check_engine(deadline)
            progress(Progress(message=f"preparing {base.ref} once"))
            with self._builder.building(base, init, deadline=deadline) as (container, user):
                # Somebody on another machine may have been faster; a second one would only take its name away.
                if init or self.find_prepared(base, seed, deadline=deadline) is None:
                    labels = _prepared_labels(base, seed, key, user)
                    self._builder.commit(container, labels, deadline=deadline)
        found = self.find_prepared(base, seed, deadline=deadline)
        if found is None:
            raise EngineFailed(f"{prepared_ref(base, seed)} was committed, but the engine does not have it")
        return found

    def freeze(self, container: Container, freeze: Freeze, *, deadline: Deadline) -> StoredImage:
        """Commit a container while its server stands still; raises EngineFailed when it did not."""
        labels = _frozen_labels(container, freeze)
        with self._connection.calling(f"freezing {container.name}", deadline=deadline) as api:
            layers = api.inspect_image(container.image_id)["RootFS"]["Layers"]
        full = len(layers) >= self._max_layers
        with self._freezer.freezing(container, deadline=deadline) as check:
            if full:
                image_id = self._builder.commit_aside(container, check=check, deadline=deadline)
            else:
                image_id = self._builder.commit(
                    container.container_id, labels, check=check, deadline=deadline
                )
        if full:
            with self._builder.carrying(container, image_id, deadline=deadline) as fresh:
                image_id = self._builder.commit(fresh, labels, deadline=deadline)
        for stored in self.list(deadline=deadline):
            if stored.image.id == image_id:
                return stored
        raise EngineFailed(f"{freeze.name} was committed, and somebody has removed it since")

    def list(self, *, deadline: Deadline | None = None) -> tuple[StoredImage, ...]:
        """Return every image of ours, oldest first."""
        with self._connection.calling("listing our images", deadline=deadline) as api:
            summaries = api.images(filters={"label": KIND_LABEL})
            sizes = {}
            for summary in summaries:
                if deadline is not None:
                    deadline.check("listing our images")
                sizes[summary["Id"]] = _own_size(api, summary)
        found = [_read_stored(summary, sizes[summary["Id"]]) for summary in summaries]
        return tuple(sorted((one for one in found if one is not None), key=lambda one: one.created_at))

    def remove(self, image_id: str, *, deadline: Deadline | None = None) -> bool:
        """Remove an image by our name for it, never by force: with force one in use would only lose its name.

        Under another name that somebody gave it, it stays, and is not ours any more.
        """
        with self._connection.calling(f"removing image {image_id[7:19]}", deadline=deadline) as api:
            try:
                tags = _real_tags(api.inspect_image(image_id))
                ours = [tag for tag in tags if tag.startswith(f"{REPOSITORY}/")]
                if tags and not ours:
                    return False
                for tag in ours or [image_id]:
                    api.remove_image(tag)
            except docker.errors.ImageNotFound:
                return False
            except docker.errors.APIError as exc:
                if exc.response is not None and exc.response.status_code == 409:  # noqa: PLR2004 - in use
                    return False
                raise
        return True


def _prepared_labels(base: Image, seed: str, key: str, user: ServerUser) -> dict[str, str]:
    return {
        "kind": Kind.PREPARED.value,
        "name": seed,
        "key": key,
        "source": "",
        "base": base.id,
        "image": base.ref,
        "version": base.version,
        "created-at": datetime.now(UTC).isoformat(),
        "expires-at": "",
        "user": f"{user.uid}:{user.gid}",
    }


def _frozen_labels(container: Container, freeze: Freeze) -> dict[str, str]:
    return {
        "kind": freeze.kind.value,
        "name": freeze.name,
        "key": freeze.key,
        "source": container.id,
        "base": container.base_id,
        "image": container.image,
        "version": container.version,
        "created-at": datetime.now(UTC).isoformat(),
        "expires-at": freeze.expires_at.isoformat() if freeze.expires_at else "",
        "user": container.user,
        "database": freeze.database,
        "username": freeze.username,
        "memory": str(container.limits.memory),
        "cpus": str(container.limits.cpus),
        "settings": json.dumps(dict(container.settings)),
    }


def prepared_key(base: Image, seed: str) -> str:
    """Return what a prepared image depends on, as a tag."""
    # A seed cannot be made again by us: it outlives our scripts, which are put in anew when it starts.
    scripts = "" if seed else hashlib.sha256(b"".join(load_scripts().values())).hexdigest()
    return hashlib.sha256(f"{FORMAT} {base.id} {seed} {scripts}".encode()).hexdigest()[:24]


def prepared_ref(base: Image, seed: str) -> str:
    """Return the name of a prepared image."""
    return f"{REPOSITORY}/{Kind.PREPARED.value}:{prepared_key(base, seed)}"


def _read_stored(summary: Mapping[str, Any], size: int) -> StoredImage | None:
    """Return an image of ours, None for what only inherited our labels: it has another name, or was an instance."""
    labels: Mapping[str, str] = summary.get("Labels") or {}
    tags = _real_tags(summary)
    try:
        end, key = labels[f"{LABEL}expires-at"], labels[f"{LABEL}key"]
        named = f"{REPOSITORY}/{labels[KIND_LABEL]}:{key}" in tags
        if labels[ID_LABEL] or (tags and not named and f"{UNFINISHED}:{key}" not in tags):
            return None
        return StoredImage(
            image=Image(
                ref=labels[f"{LABEL}image"],
                id=summary["Id"],
                base_id=labels[f"{LABEL}base"],
                version=labels[f"{LABEL}version"],
                user=labels[USER_LABEL],
                prepared=True,
                seed=labels[f"{LABEL}name"] if labels[KIND_LABEL] == Kind.PREPARED else "",
            ),
            kind=Kind(labels[KIND_LABEL]),
            name=labels[f"{LABEL}name"],
            key=key if named else "",
            created_at=read_moment(labels[f"{LABEL}created-at"]),
            expires_at=read_moment(end) if end else None,
            source=labels[f"{LABEL}source"],
            size=size,
            database=labels.get(f"{LABEL}database", ""),
            username=labels.get(f"{LABEL}username", ""),
            limits=Limits(
                memory=int(labels.get(f"{LABEL}memory") or 0), cpus=float(labels.get(f"{LABEL}cpus") or 0)
            ),
            settings=read_settings(labels),
        )
    except (KeyError, ValueError, AttributeError, OverflowError, RecursionError):
        return None


def _real_tags(image: Mapping[str, Any]) -> list[str]:
    """Return an image's names; older engines say `<none>:<none>` where there is none."""
    return [tag for tag in image.get("RepoTags") or () if tag != "<none>:<none>"]


def _own_size(api: Api, summary: Mapping[str, Any]) -> int:
    """Return the bytes that an image adds to its parent; all of it when the parent is gone."""
    try:
        below = int(api.inspect_image(summary["ParentId"])["Size"]) if summary.get("ParentId") else 0
    except docker.errors.NotFound:
        below = 0
    return int(summary["Size"]) - below
