"""Images from containers: a cluster that the image itself makes, a cluster carried over, and the commit of either."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import docker.errors

from dev_postgres_mcp.errors import DevPostgresError, EngineFailed, EngineUnsupported, InitFailed
from dev_postgres_mcp.model import Evidence
from dev_postgres_mcp.parsing import new_id
from dev_postgres_mcp.runtimes.base import Image, Role
from dev_postgres_mcp.runtimes.docker.container import ID_LABEL, LABEL, prepare_arguments
from dev_postgres_mcp.runtimes.docker.files import PGDATA, load_scripts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.model import InitFile
    from dev_postgres_mcp.runtimes.base import Container
    from dev_postgres_mcp.runtimes.docker.engine import EngineConnection
    from dev_postgres_mcp.runtimes.docker.files import ServerUser
    from dev_postgres_mcp.runtimes.docker.launching import Launcher

REPOSITORY = "dev-postgres-mcp"
UNFINISHED = f"{REPOSITORY}/unfinished"
"""The name of a copy of which nobody knows yet whether it is whole."""
COMMIT_TIMEOUT = 600.0
"""Seconds; a gigabyte takes six."""
_POLL_SECONDS = 0.02
_LOG_LINES = 20


class Builder:
    """Makes the containers that images are committed from, and commits.  Keeps nothing."""

    def __init__(self, connection: EngineConnection, launcher: Launcher) -> None:
        """Work through `connection`; create and fill as `launcher` does."""
        self._connection = connection
        self._launcher = launcher

    @contextmanager
    def building(
        self, base: Image, init: tuple[InitFile, ...], *, deadline: Deadline
    ) -> Iterator[tuple[str, ServerUser]]:
        """Yield a container whose cluster is made and stopped cleanly, and who owns it; then remove it.

        Raises InitFailed when the image's own initialisation or a script fails.
        """
        with self._aside(base, with_init=bool(init), deadline=deadline) as name:
            self._launcher.fill(name, base, load_scripts(), init, deadline=deadline)
            self._run_to_end(name, deadline)
            yield name, self._launcher.server_user(name, base, deadline)

    @contextmanager
    def carrying(self, container: Container, frozen: str, *, deadline: Deadline) -> Iterator[str]:
        """Yield a container on the base image with the cluster of `frozen`, a commit of another one; remove both."""
        base = Image(ref=container.image, id=container.base_id, user=container.user)
        try:
            still = Image(ref=container.image, id=frozen, user=container.user)
            with (
                self._aside(still, deadline=deadline) as source,
                self._aside(base, deadline=deadline) as target,
                self._connection.calling(f"carrying {container.name}", deadline=deadline) as api,
            ):
                self._launcher.fill(target, base, load_scripts(), deadline=deadline)
                api.timeout = max(0.1, min(COMMIT_TIMEOUT, deadline.remaining()))
                chunks, _ = api.get_archive(source, PGDATA)
                api.put_archive(target, PGDATA.rpartition("/")[0], chunks)
                yield target
        finally:
            with self._connection.calling("removing an image", deadline=deadline.undoing()) as api:
                api.remove_image(frozen)

    def commit(
        self,
        container: str,
        labels: Mapping[str, str],
        *,
        check: Callable[[], None] | None = None,
        deadline: Deadline,
    ) -> str:
        """Commit a container under the name that its labels give; return the image's id.

        With a `check` it has that name when the check has passed; else at once, in one call.  What the container
        was is not the image's: its id is blanked.
        """
        ours = {ID_LABEL: "", **{LABEL + key: value for key, value in labels.items()}}
        name = f"{REPOSITORY}/{labels['kind']}"
        with self._connection.calling(f"committing {container[:40]}", deadline=deadline) as api:
            api.timeout = max(0.1, min(COMMIT_TIMEOUT, deadline.remaining()))
            committed = api.commit(
                container,
                repository=UNFINISHED if check else name,
                tag=labels["key"],
                # Whoever still runs in it stands still already, and not by the engine (shell/freeze.sh).
                pause=False,
                conf={"Labels": ours},
            )
            image_id = str(committed["Id"])
        try:
            self._check_labels(image_id, ours, deadline)
            if check is not None:
                check()
        except BaseException:
            # A sweep would find it, too.
            with (
                suppress(DevPostgresError),
                self._connection.calling(f"removing image {image_id}", deadline=deadline.undoing()) as api,
            ):
                api.remove_image(image_id)
            raise
        if check is not None:
            with self._connection.calling(f"naming image {image_id}", deadline=deadline) as api:
                api.tag(image_id, name, labels["key"])
                with suppress(docker.errors.APIError):
                    api.remove_image(f"{UNFINISHED}:{labels['key']}")
        return image_id

    def _check_labels(self, image_id: str, labels: Mapping[str, str], deadline: Deadline) -> None:
        with self._connection.calling(f"inspecting image {image_id}", deadline=deadline) as api:
            kept: Mapping[str, str] = api.inspect_image(image_id)["Config"].get("Labels") or {}
        if any(kept.get(name, "") != value for name, value in labels.items()):
            raise EngineUnsupported(
                "the engine commits images without the labels that they are to have (podman before 5 does so)",
                hint="use Docker or a newer podman for prepared images, snapshots and branches",
            )

    def check_engine(self, deadline: Deadline) -> None:
        """Raise EngineUnsupported for an engine of which it is known that `commit` would."""
        with self._connection.calling("asking the engine for its version", deadline=deadline) as api:
            components = api.version(api_version=False).get("Components") or ()
        for component in components:
            old = str(component.get("Version", "")).partition(".")[0] in {"3", "4"}
            if old and "podman" in str(component.get("Name", "")).lower():
                raise EngineUnsupported(
                    f"podman {component['Version']} commits images without labels",
                    hint="use Docker or podman 5 for prepared images, snapshots and branches",
                )

    def commit_aside(self, container: Container, *, check: Callable[[], None], deadline: Deadline) -> str:
        """Commit in the labels of a branch that nobody has: a sweep would find it."""
        labels = {
            "kind": "branch",
            "key": new_id(),
            "name": "",
            "source": container.id,
            "base": container.base_id,
            "image": container.image,
            "version": container.version,
            "created-at": datetime.now(UTC).isoformat(),
            "expires-at": "",
            "user": container.user,
        }
        return self.commit(container.container_id, labels, check=check, deadline=deadline)

    @contextmanager
    def _aside(self, image: Image, *, with_init: bool = False, deadline: Deadline) -> Iterator[str]:
        """Yield the name of a container of its own, which is removed in any case."""
        key = new_id()
        name = Role.PREPARING.name_for(key)
        ready_by = datetime.now(UTC) + timedelta(seconds=min(deadline.remaining(), 86_400))
        with self._launcher.creating(
            name,
            lambda api: prepare_arguments(api, image, key, ready_by, with_init=with_init),
            deadline=deadline,
        ):
            yield name
        with self._connection.calling(f"removing {name}", deadline=deadline.undoing()) as api:
            api.remove_container(name, v=True, force=True)

    def _run_to_end(self, name: str, deadline: Deadline) -> None:
        with self._connection.calling(f"starting {name}", deadline=deadline) as api:
            api.start(name)
            while (state := api.inspect_container(name)["State"])["Running"]:
                deadline.check(f"preparing an image in {name}")
                deadline.sleep(_POLL_SECONDS)
            if state["ExitCode"] == 0:
                return
            try:
                tail = bytes(api.logs(name, tail=_LOG_LINES)).decode("utf-8", "replace").strip()
            except docker.errors.APIError as exc:
                raise EngineFailed(f"{name} was taken away while it prepared an image") from exc
        evidence = Evidence(exit_code=state["ExitCode"], oom_killed=state["OOMKilled"], log_tail=tail)
        raise InitFailed(
            "the image could not be prepared", hint="the log lines above say why", evidence=evidence
        )
