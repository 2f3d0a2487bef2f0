"""What this client has read out of containers, kept on its disk so that `list` need not read it again.

An entry is good as long as the directory in the container has the time of its last change that it had then.
Entries hold passwords: the files are the user's own (0600), as `~/.pgpass` is.  A cache that cannot be written
costs time only.
"""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from dev_postgres_mcp.runtimes.records import state_from_json, state_to_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dev_postgres_mcp.runtimes.base import State


YOUNG_SECONDS = 60.0


class StateCache:
    """States by container id, each with the stamp under which it was read."""

    def __init__(self, directory: Path) -> None:
        """Keep entries in `directory`, which is made on first use."""
        self._directory = directory

    def get(self, container_id: str, stamp: str) -> State | None:
        """Return the state read under `stamp`; any stamp will do when it is empty."""
        try:
            entry = json.loads(self._path(container_id).read_bytes())
            known = str(entry["stamp"])
            return state_from_json(entry["state"]) if stamp in {known, ""} else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, container_id: str, stamp: str, state: State) -> None:
        """Keep a state."""
        path = self._path(container_id)
        fresh = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}.new")
        content = json.dumps({"stamp": stamp, "state": state_to_json(state)}).encode()
        with suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            fresh.replace(path)

    def keep_only(self, container_ids: Iterable[str]) -> None:
        """Forget what belongs to no container any more."""
        kept = {self._path(container_id).name for container_id in container_ids}
        with suppress(OSError):
            for path in self._directory.iterdir():
                # What is young may belong to a container that came after the look.
                if path.name not in kept and time.time() - path.stat().st_mtime > YOUNG_SECONDS:
                    path.unlink(missing_ok=True)

    def _path(self, container_id: str) -> Path:
        return self._directory / f"{container_id}.json"
