"""Local images: found by name, pulled when absent, with progress in bytes and layers."""

from __future__ import annotations

import queue
import re
import threading
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import docker.errors
import requests.exceptions
import urllib3.exceptions
from docker.utils import parse_repository_tag

from dev_postgres_mcp.errors import DevPostgresError, ImageUnauthorized, RegistryUnreachable
from dev_postgres_mcp.model import Progress
from dev_postgres_mcp.runtimes.base import Image, Kind
from dev_postgres_mcp.runtimes.docker.container import KIND_LABEL, LABEL, USER_LABEL
from dev_postgres_mcp.runtimes.docker.failures import explain_pull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.runtimes.docker.discovery import Api
    from dev_postgres_mcp.runtimes.docker.engine import EngineConnection

_POLL = 0.1
"""Seconds between looks at the deadline while the engine is silent."""
_DONE = {"Pull complete", "Already exists"}
_COME = {"Verifying Checksum", "Download complete", "Extracting", "Pull complete"}


def find_image(connection: EngineConnection, ref: str, *, deadline: Deadline | None = None) -> Image | None:
    """Return the local image that `ref` names, None when it is absent."""
    with connection.calling(f"looking for the image {ref}", deadline=deadline) as api:
        try:
            details = api.inspect_image(ref)
        except docker.errors.ImageNotFound:
            return None
    return read_image(ref, details)


def read_image(ref: str, details: Mapping[str, Any]) -> Image:
    """Return an image from the engine's inspection; the version is the official image's PG_MAJOR."""
    config: Mapping[str, Any] = details.get("Config") or {}
    environment = dict(item.partition("=")[::2] for item in config.get("Env") or ())
    labels: Mapping[str, str] = config.get("Labels") or {}
    return Image(
        ref=ref,
        id=details["Id"],
        base_id=labels.get(f"{LABEL}base") or details["Id"],
        version=environment.get("PG_MAJOR", "") or labels.get(f"{LABEL}version", ""),
        volumes=tuple(sorted(config.get("Volumes") or ())),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        user=labels.get(USER_LABEL, ""),
        prepared=KIND_LABEL in labels,
        whole=labels.get(KIND_LABEL) == Kind.PREPARED and not labels.get(f"{LABEL}name"),
        seed=labels.get(f"{LABEL}name", "") if labels.get(KIND_LABEL) == Kind.PREPARED else "",
    )


def pull_image(
    connection: EngineConnection, ref: str, *, progress: Callable[[Progress], None], deadline: Deadline
) -> None:
    """Have the engine pull `ref`; raises one of the ImageUnavailable errors."""
    layers = Layers(ref)
    doing = f"pulling {ref}"
    with connection.calling(doing, deadline=deadline), closing(connection.open(deadline)) as api:
        for event in _events(api, ref, deadline):
            if "error" in event:
                raise explain_pull(ref, str(event["error"]))
            if layers.see(event):
                progress(layers.progress())


@dataclass
class Layers:
    """How far a pull has come, summed over the layers that the engine reports."""

    ref: str
    _sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)

    def see(self, event: Mapping[str, Any]) -> bool:
        """Take in one event of the engine; True when it tells something new."""
        layer, status = str(event.get("id", "")), str(event.get("status", ""))
        if not re.fullmatch(r"[0-9a-f]{12}", layer) or status.startswith("Pulling from"):
            return False
        detail: Mapping[str, Any] = event.get("progressDetail") or {}
        current, total = self._sizes.get(layer, (0, 0))
        if status == "Downloading":
            # After a cut the engine counts the remainder only, with a smaller total: what has come is not taken back.
            come, left = int(detail.get("current") or 0), int(detail.get("total") or 0)
            total = max(total, left)
            if come < left:
                current = max(current, total - left + come)
        elif status in _COME:
            current = total
        self._sizes[layer] = (current, total)
        if status in _DONE:
            self._done.add(layer)
        return True

    def progress(self) -> Progress:
        """Return the sum so far, in bytes, with the layers in the message."""
        return Progress(
            message=f"pulling {self.ref}: {len(self._done)} of {len(self._sizes)} layers",
            done=sum(current for current, _ in self._sizes.values()),
            total=sum(total for _, total in self._sizes.values()),
        )


def _events(api: Api, ref: str, deadline: Deadline) -> Iterator[Mapping[str, Any]]:
    """Yield the engine's events, looking at the deadline while it is silent.

    A thread reads them, since a read from a silent engine cannot be interrupted.  When we give up we hang up, and
    the engine ends a pull that nobody listens to.
    """
    arrived: queue.SimpleQueue[Mapping[str, Any] | Exception | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read_events, args=(api, ref, arrived), daemon=True)
    reader.start()
    try:
        while True:
            deadline.check(f"pulling {ref}")
            try:
                event = arrived.get(timeout=_POLL)
            except queue.Empty:
                continue
            if event is None:
                return
            if isinstance(event, Exception):
                raise event
            yield event
    finally:
        api.hang_up()


def _read_events(
    api: Api, ref: str, arrived: queue.SimpleQueue[Mapping[str, Any] | Exception | None]
) -> None:
    repository, tag = parse_repository_tag(ref)
    end: Exception | None = _cut(ref, "the reader of its answers failed")
    try:
        for event in api.pull(repository, tag or "latest", stream=True, decode=True):
            arrived.put(event)
        end = None
    except docker.errors.APIError as exc:
        end = explain_pull(ref, str(exc.explanation or exc))
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as exc:
        end = _cut(ref, f"the engine stopped answering ({type(exc).__name__})")
    except docker.errors.DockerException as exc:
        # The SDK asks the credential helpers of ~/.docker/config.json before it asks the engine.
        end = ImageUnauthorized(
            f"could not pull {ref}: {exc}",
            hint="repair `credsStore` or `credHelpers` in ~/.docker/config.json",
        )
    finally:
        arrived.put(end)


def _cut(ref: str, why: str) -> DevPostgresError:
    return RegistryUnreachable(
        f"could not pull {ref}: {why}",
        hint="see whether the engine still runs (`dev-postgres-mcp doctor`), then try again",
    )
