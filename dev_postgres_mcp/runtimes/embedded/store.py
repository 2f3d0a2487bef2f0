"""The clusters that are kept as directories: prepared once, or frozen as they stood."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dev_postgres_mcp.errors import EngineFailed, InitFailed, InstanceNotFound
from dev_postgres_mcp.model import Limits, Progress
from dev_postgres_mcp.runtimes.base import Image, Kind, StoredImage
from dev_postgres_mcp.runtimes.embedded import copying
from dev_postgres_mcp.runtimes.embedded.files import (
    FREEZE,
    FROZEN,
    PLAN,
    Plan,
    hold_lock,
    is_held,
    read_bytes,
    read_json,
    write_whole,
)
from dev_postgres_mcp.runtimes.embedded.launching import copy_init
from dev_postgres_mcp.runtimes.turns import take_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import InitFile
    from dev_postgres_mcp.runtimes.base import Container, Freeze
    from dev_postgres_mcp.runtimes.embedded.launching import Launcher
    from dev_postgres_mcp.runtimes.embedded.providers import Provider
    from dev_postgres_mcp.runtimes.embedded.storage import Ground

FORMAT = "1"
"""Changes when a cluster prepared by an older program would not do any more."""
_IMAGE, _MAKER, _DATA = "image.json", "maker", "data"
_GONE = ".gone-"
"""Before the name of a directory that is being removed."""
_POLL_SECONDS = 0.005


class ImageStore:
    """Our images on one ground.  Thread-safe; processes take turns in preparing."""

    def __init__(self, ground: Ground, launcher: Launcher) -> None:
        """Keep them on `ground`; clusters are made and copied by supervisors."""
        self._ground = ground
        self._launcher = launcher

    def find(self, image_id: str) -> StoredImage | None:
        """Return the image with that id, None when there is none."""
        return next((stored for stored in self.list() if stored.image.id == image_id), None)

    def find_prepared(self, base: Image, seed: str) -> Image | None:
        """Return the prepared image, None when there is none."""
        key = prepared_key(base, seed)
        return next((stored.image for stored in self.list() if stored.key == key), None)

    def prepare(
        self,
        base: Image,
        seed: str,
        init: tuple[InitFile, ...],
        provider: Provider,
        *,
        progress: Callable[[Progress], None],
        deadline: Deadline,
    ) -> Image:
        """Have a cluster made and stopped cleanly; it gets its name last, and an older one loses it."""
        deadline.check(f"preparing {base.ref}")
        key = prepared_key(base, seed)
        self._ground.prepare()
        with take_turn(self._ground.locks / f"prepare-{key}.lock", deadline, f"preparing {base.ref}"):
            if not init and (found := self.find_prepared(base, seed)):
                return found
            progress(Progress(message=f"preparing {base.ref} once"))
            image = replace(base, id=_new_id(), prepared=True, whole=True, seed=seed)
            with self._making(image) as directory:
                self._build(directory, base, provider, init, deadline)
                older = [stored for stored in self.list() if stored.key == key]
                stored = StoredImage(
                    image=image,
                    kind=Kind.PREPARED,
                    name=seed,
                    key=key,
                    created_at=datetime.now(UTC),
                    size=copying.size_of(str(directory / _DATA)),
                )
                self._write(stored)
                for other in older:
                    self._write(replace(other, key=""))
        return image

    def freeze(
        self, container: Container, source: Path, freeze: Freeze, *, deadline: Deadline
    ) -> StoredImage:
        """Have the supervisor of a container copy its cluster while the server stands still."""
        image = Image(
            ref=container.image,
            id=_new_id(),
            base_id=container.base_id,
            version=container.version,
            prepared=True,
        )
        with self._making(image) as directory:
            self._copy(container, source, directory / _DATA, freeze.key, deadline)
            stored = StoredImage(
                image=image,
                kind=freeze.kind,
                name=freeze.name,
                key=freeze.key,
                created_at=datetime.now(UTC),
                expires_at=freeze.expires_at,
                source=container.id,
                size=copying.size_of(str(directory / _DATA)),
                database=freeze.database,
                username=freeze.username,
                limits=container.limits,
                settings=dict(container.settings),
            )
            self._write(stored)
        return stored

    def data_of(self, image_id: str) -> Path:
        """Return the data directory of an image."""
        return self._directory(image_id) / _DATA

    def list(self) -> tuple[StoredImage, ...]:
        """Return every image that is whole, or was left half-made, oldest first."""
        if not self._ground.images.is_dir():
            return ()
        found = [
            stored
            for directory in self._ground.images.iterdir()
            if (stored := _read_stored(directory)) is not None
        ]
        return tuple(sorted(found, key=lambda stored: stored.created_at))

    def remove(self, image_id: str) -> bool:
        """Remove an image; False when it is gone."""
        directory = self._directory(image_id)
        gone = directory.with_name(f"{_GONE}{directory.name}")
        try:
            directory.rename(gone)
        except OSError:
            return False
        copying.remove_tree(str(gone))
        return True

    def finish_removals(self) -> None:
        """Go on with what somebody was removing when he died; raises OSError."""
        for gone in self._ground.images.glob(f"{_GONE}*"):
            copying.remove_tree(str(gone))

    def _build(
        self,
        directory: Path,
        base: Image,
        provider: Provider,
        init: tuple[InitFile, ...],
        deadline: Deadline,
    ) -> None:
        copy_init(init, directory)
        plan = Plan(
            programs=str(provider.bin_directory),
            major=int(provider.major),
            environment=dict(provider.environment),
            data=str(directory / _DATA),
            source="",
            username="postgres",
            database="postgres",
            new=False,
            port=5432,
            settings={},
            cgroups=[],
            memory=0,
            birth_end=0.0,
            hard_end=0.0,
            build=True,
        )
        write_whole(str(directory / PLAN), json.dumps({"plan": plan._asdict()}).encode())
        try:
            self._launcher.build(directory, deadline=deadline)
        except EngineFailed as exc:
            raise InitFailed(
                f"{base.ref} could not be prepared: {exc.message}", hint=exc.hint, evidence=exc.evidence
            ) from exc

    def _copy(self, container: Container, source: Path, target: Path, key: str, deadline: Deadline) -> None:
        asked, answered = source / f"{FREEZE}{key}", source / f"{FROZEN}{key}"
        try:
            write_whole(str(asked), str(target).encode())
            self._launcher.wake(source)
            while not answered.exists():
                deadline.check(f"freezing {container.name}")
                if not source.exists():
                    raise InstanceNotFound(f"{container.id} is gone")
                deadline.sleep(_POLL_SECONDS)
            trouble = read_bytes(str(answered)).decode("utf-8", "replace")
        except FileNotFoundError as exc:
            raise InstanceNotFound(f"{container.id} is gone") from exc
        finally:
            asked.unlink(missing_ok=True)
            answered.unlink(missing_ok=True)
        if trouble:
            raise EngineFailed(
                f"{container.id} could not be copied: {trouble}", hint="make room, then try again"
            )

    @contextmanager
    def _making(self, image: Image) -> Iterator[Path]:
        """Yield the directory of an image that nobody sees until it is written; a failed one is removed."""
        self._ground.prepare()
        directory = self._directory(image.id)
        directory.mkdir(mode=0o711)
        lock = hold_lock(str(directory / _MAKER))
        try:
            yield directory
        except BaseException:
            self.remove(image.id)
            raise
        finally:
            if lock:
                os.close(lock)

    def _write(self, stored: StoredImage) -> None:
        write_whole(str(self._directory(stored.image.id) / _IMAGE), _render_stored(stored))

    def _directory(self, image_id: str) -> Path:
        return self._ground.images / image_id.removeprefix("sha256:")


def prepared_key(base: Image, seed: str) -> str:
    """Return what a prepared image depends on."""
    return hashlib.sha256(f"{FORMAT} {base.id} {seed}".encode()).hexdigest()[:24]


def _new_id() -> str:
    return f"sha256:{secrets.token_hex(32)}"


def _render_stored(stored: StoredImage) -> bytes:
    fields = asdict(stored) | {
        "created_at": stored.created_at.isoformat(),
        "expires_at": stored.expires_at.isoformat() if stored.expires_at else "",
    }
    return json.dumps(fields).encode()


def _read_stored(directory: Path) -> StoredImage | None:
    """Return an image, also one that was left half-made; None for one that is being made."""
    try:
        fields = read_json(str(directory / _IMAGE))
        return _parse_stored(fields)
    except FileNotFoundError:
        return _read_unfinished(directory)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None


def _parse_stored(fields: dict[str, Any]) -> StoredImage:
    image, limits, end = fields["image"], fields["limits"], fields["expires_at"]
    return StoredImage(
        **{
            **fields,
            "image": Image(**{**image, "volumes": (), "entrypoint": ()}),
            "kind": Kind(fields["kind"]),
            "limits": Limits(**limits),
            "created_at": datetime.fromisoformat(fields["created_at"]),
            "expires_at": datetime.fromisoformat(end) if end else None,
        }
    )


def _read_unfinished(directory: Path) -> StoredImage | None:
    if directory.name.startswith(".") or is_held(str(directory / _MAKER)):
        return None
    try:
        created_at = datetime.fromtimestamp(directory.stat().st_mtime, UTC)
    except OSError:
        return None
    return StoredImage(
        image=Image(ref="", id=f"sha256:{directory.name}"),
        kind=Kind.PREPARED,
        name="",
        key="",
        created_at=created_at,
    )
