"""The engine as if nobody else used it: a whole sweep or prune would take other people's leftovers, too."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from docker.errors import ImageNotFound

from dev_postgres_mcp.app import assemble_app
from dev_postgres_mcp.instances import Policy
from dev_postgres_mcp.parsing import new_id
from dev_postgres_mcp.runtimes.docker import DockerRuntime
from dev_postgres_mcp.runtimes.docker.store import MAX_LAYERS
from dev_postgres_mcp.settings import Settings
from tests.helpers.stages import ROOMY, owner_of
from tests.integration.shell import inspect

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.deadline import Deadline
    from dev_postgres_mcp.runtimes.base import Container, StoredImage
    from dev_postgres_mcp.runtimes.docker import DockerOptions
    from tests.helpers.stages import DockerStage


class OwnRuntime(DockerRuntime):
    """Docker, of which only what stands on the base images of one test is shown."""

    def __init__(self, options: DockerOptions) -> None:
        """Show nothing yet."""
        super().__init__(options)
        self.bases: set[str] = set()
        self.outdated: tuple[Container, ...] = ()

    def list(self, *, deadline: Deadline | None = None) -> tuple[Container, ...]:
        """Return the containers on our bases; once `outdated`, as if all that changed since came a moment later."""
        if self.outdated:
            outdated, self.outdated = self.outdated, ()
            return outdated
        return tuple(one for one in super().list(deadline=deadline) if one.base_id in self.bases)

    def images(self, *, deadline: Deadline | None = None) -> tuple[StoredImage, ...]:
        """Return the images from our bases."""
        return tuple(one for one in super().images(deadline=deadline) if one.image.base_id in self.bases)


class OwnWorld:
    """A program over a base image that nobody else has, and over nothing else."""

    def __init__(
        self, stage: DockerStage, disk: Path, *, version: str = "", max_layers: int = MAX_LAYERS
    ) -> None:
        """Make the base image from the official one of that version."""
        self.stage = stage
        self.runtime = OwnRuntime(replace(stage.options, state_directory=disk, max_layers=max_layers))
        self._version = version or stage.version
        self._repository = f"dev-postgres-mcp-tests/{new_id()}"
        self.base = self.renew_base()
        given: dict[str, Any] = {"version": self._version, "image_repository": self._repository, **ROOMY}
        asked = Settings(**given)
        self.app: App = assemble_app(asked, runtime=self.runtime, sql=stage.sql, owner=owner_of(stage))
        self.policy = Policy(
            quota=self.app.quota,
            create_timeout=asked.create_timeout,
            pull_timeout=asked.pull_timeout,
            max_snapshot_size=asked.max_snapshot_size,
        )

    @property
    def base_id(self) -> str:
        """The id of the base image as it stands now."""
        return str(inspect(self.base)["Id"])

    def renew_base(self) -> str:
        """Put another image under the name of the base image, as a pull of a newer one does."""
        mark = {"tests.session": self.stage.session}
        container = self.stage.api.create_container(f"postgres:{self._version}", labels=mark)["Id"]
        labels = {**mark, "tests.number": str(len(self.runtime.bases))}
        self.stage.api.commit(
            container, repository=self._repository, tag=self._version, conf={"Labels": labels}
        )
        self.stage.api.remove_container(container, v=True)
        self.base = f"{self._repository}:{self._version}"
        self.runtime.bases.add(self.base_id)
        return self.base

    def images(self) -> dict[str, list[str]]:
        """Return the tags of every image from our bases by its id, as the engine itself tells them."""
        found = self.stage.api.images(filters={"label": "dev-postgres-mcp.kind"})
        return {
            image["Id"]: [tag for tag in image["RepoTags"] or [] if tag != "<none>:<none>"]
            for image in found
            if image["Labels"].get("dev-postgres-mcp.base") in self.runtime.bases
        }

    def close(self) -> None:
        """Remove what is left on our bases."""
        for container in self.runtime.list():
            self.runtime.remove(container.container_id)
        for image_id in reversed([stored.image.id for stored in self.runtime.images()]):
            self.runtime.remove_image(image_id)
        for image_id in self.runtime.bases:
            with suppress(ImageNotFound):
                self.stage.api.remove_image(image_id)
        self.runtime.close()
