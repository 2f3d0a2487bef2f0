"""The images that we make: clusters prepared once, and clusters frozen as snapshots.  Labels say what each is.

No image holds a secret: records and passwords lie on a tmpfs, and a prepared cluster has no password at all.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import docker.errors

from dev_postgres_mcp.errors import EngineFailed, InitFailed
from dev_postgres_mcp.model import Evidence, Limits, Progress
from dev_postgres_mcp.runtimes.base import Container, Image, Kind, Role, StoredImage
from dev_postgres_mcp.runtimes.docker.container import (
    ID_LABEL,
    KIND_LABEL,
    LABEL,
    USER_LABEL,
    prepare_arguments,
    read_moment,
    read_settings,
)
from dev_postgres_mcp.runtimes.docker.files import PGDATA, PREPARE, load_script
from dev_postgres_mcp.runtimes.docker.images import read_image
from dev_postgres_mcp.runtimes.docker.turns import take_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import InitFile
    from dev_postgres_mcp.runtimes.base import Freeze
    from dev_postgres_mcp.runtimes.docker.discovery import Api
    from dev_postgres_mcp.runtimes.docker.engine import EngineConnection
    from dev_postgres_mcp.runtimes.docker.launching import Launcher

REPOSITORY = "dev-postgres-mcp"
FORMAT = "1"
"""Changes when a cluster prepared by an older program would not do any more."""
MAX_LAYERS = 100
"""Overlay engines stop at 125 or so; beyond this a snapshot stands on the base image again."""
COMMIT_TIMEOUT = 600.0
"""Seconds; a gigabyte takes six."""
_POLL_SECONDS = 0.02
_LOG_LINES = 20


class ImageStore:
    """Our images on one engine.  Thread-safe; processes of one machine take turns in preparing."""

    def __init__(self, connection: EngineConnection, launcher: Launcher, lock_directory: Path) -> None:
        """Work through `connection`; fill containers as `launcher` does."""
        self._connection = connection
        self._launcher = launcher
        self._locks = lock_directory

    def find_prepared(self, base: Image, seed: str, *, deadline: Deadline | None) -> Image | None:
        """Return the prepared image, None when there is none."""
        ref = prepared_ref(base, seed)
        with self._connection.calling(f"looking for {ref}", deadline=deadline) as api:
            try:
                details = api.inspect_image(ref)
            except docker.errors.ImageNotFound:
                return None
        return read_image(base.ref, details)

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
            progress(Progress(message=f"preparing {base.ref} once"))
            self._build(base, seed, init, deadline=deadline)
        found = self.find_prepared(base, seed, deadline=deadline)
        if found is None:
            raise EngineFailed(f"{prepared_ref(base, seed)} was committed, but the engine does not have it")
        return found

    def freeze(self, container: Container, freeze: Freeze, *, deadline: Deadline) -> StoredImage:
        """Commit a running container; the engine pauses it meanwhile."""
        labels = {
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
        with self._connection.calling(f"freezing {container.name}", deadline=deadline) as api:
            layers = api.inspect_image(container.image_id)["RootFS"]["Layers"]
        if len(layers) >= MAX_LAYERS:
            image_id = self._rebase(container, freeze, labels, deadline=deadline)
        else:
            image_id = self._commit(
                container.container_id, freeze.kind.value, freeze.key, labels, deadline=deadline
            )
        return next(stored for stored in self.list(deadline=deadline) if stored.image.id == image_id)

    def list(self, *, deadline: Deadline | None = None) -> tuple[StoredImage, ...]:
        """Return every image of ours, oldest first."""
        with self._connection.calling("listing our images", deadline=deadline) as api:
            summaries = api.images(filters={"label": KIND_LABEL})
            sizes = {summary["Id"]: _own_size(api, summary) for summary in summaries}
        found = [_read_stored(summary, sizes[summary["Id"]]) for summary in summaries]
        return tuple(sorted((one for one in found if one is not None), key=lambda one: one.created_at))

    def remove(self, image_id: str) -> bool:
        """Remove an image by our name for it, never by force: with force one in use would only lose its name.

        Under another name that somebody gave it, it stays, and is not ours any more.
        """
        with self._connection.calling(f"removing image {image_id[7:19]}") as api:
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

    def _build(self, base: Image, seed: str, init: tuple[InitFile, ...], *, deadline: Deadline) -> None:
        key = prepared_key(base, seed)
        name = Role.PREPARING.name_for(key)
        ready_by = datetime.now(UTC) + timedelta(seconds=min(deadline.remaining(), 86_400))
        self._remove_container(name, deadline)
        with self._launcher.creating(
            name,
            lambda api: prepare_arguments(api, base, key, ready_by, with_init=bool(init)),
            deadline=deadline,
        ):
            self._launcher.fill(name, base, load_script(PREPARE), init, deadline=deadline)
            self._run_to_end(name, deadline)
            user = self._launcher.server_user(name, base, deadline)
            labels = {
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
            self._commit(name, Kind.PREPARED.value, key, labels, deadline=deadline)
        self._remove_container(name, deadline.undoing())

    def _run_to_end(self, name: str, deadline: Deadline) -> None:
        with self._connection.calling(f"starting {name}", deadline=deadline) as api:
            api.start(name)
            while (state := api.inspect_container(name)["State"])["Running"]:
                deadline.check(f"preparing an image in {name}")
                deadline.sleep(_POLL_SECONDS)
            if state["ExitCode"] != 0:
                tail = bytes(api.logs(name, tail=_LOG_LINES)).decode("utf-8", "replace").strip()
                raise InitFailed(
                    "the image could not be prepared",
                    hint="the log lines above say why",
                    evidence=Evidence(
                        exit_code=state["ExitCode"], oom_killed=state["OOMKilled"], log_tail=tail
                    ),
                )

    def _commit(
        self, container: str, repository: str, tag: str, labels: Mapping[str, str], *, deadline: Deadline
    ) -> str:
        """Commit and tag in one call, and return the image's id.  What the container was is not the image's."""
        ours = {ID_LABEL: "", **{LABEL + key: value for key, value in labels.items()}}
        with self._connection.calling(f"committing {container[:40]}", deadline=deadline) as api:
            api.timeout = max(0.1, min(COMMIT_TIMEOUT, deadline.remaining()))
            committed = api.commit(
                container, repository=f"{REPOSITORY}/{repository}", tag=tag, conf={"Labels": ours}
            )
        return str(committed["Id"])

    def _rebase(
        self, container: Container, freeze: Freeze, labels: Mapping[str, str], *, deadline: Deadline
    ) -> str:
        """Carry the cluster into a fresh container of the base image and commit that one."""
        base = Image(ref=container.image, id=container.base_id, user=container.user)
        name = Role.PREPARING.name_for(freeze.key)
        ready_by = datetime.now(UTC) + timedelta(seconds=min(deadline.remaining(), 86_400))
        with (
            self._launcher.creating(
                name,
                lambda api: prepare_arguments(api, base, freeze.key, ready_by, with_init=False),
                deadline=deadline,
            ),
            self._connection.calling(f"carrying the cluster of {container.name}", deadline=deadline) as api,
        ):
            self._launcher.fill(name, base, {}, deadline=deadline)
            api.timeout = max(0.1, min(COMMIT_TIMEOUT, deadline.remaining()))
            api.pause(container.container_id)
            try:
                chunks, _ = api.get_archive(container.container_id, PGDATA)
                api.put_archive(name, PGDATA.rpartition("/")[0], chunks)
            finally:
                api.unpause(container.container_id)
            image_id = self._commit(name, freeze.kind.value, freeze.key, labels, deadline=deadline)
        self._remove_container(name, deadline.undoing())
        return image_id

    def _remove_container(self, name: str, deadline: Deadline) -> None:
        with self._connection.calling(f"removing {name}", deadline=deadline) as api:
            try:
                api.remove_container(name, v=True, force=True)
            except docker.errors.NotFound:
                return


def prepared_key(base: Image, seed: str) -> str:
    """Return what a prepared image depends on, as a tag."""
    return hashlib.sha256(f"{FORMAT} {base.id} {seed}".encode()).hexdigest()[:24]


def prepared_ref(base: Image, seed: str) -> str:
    """Return the name of a prepared image."""
    return f"{REPOSITORY}/{Kind.PREPARED.value}:{prepared_key(base, seed)}"


def _read_stored(summary: Mapping[str, Any], size: int) -> StoredImage | None:
    """Return an image of ours, None for what only inherited our labels: it has another name, or was an instance."""
    labels: Mapping[str, str] = summary.get("Labels") or {}
    tags = _real_tags(summary)
    try:
        end, key = labels[f"{LABEL}expires-at"], labels[f"{LABEL}key"]
        if labels[ID_LABEL] or (tags and f"{REPOSITORY}/{labels[KIND_LABEL]}:{key}" not in tags):
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
            key=key if tags else "",
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
