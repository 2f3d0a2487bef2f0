"""What a test run asks for, and the labels by which its processes find the same server."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from dev_postgres_mcp.databases.sources import fingerprint
from dev_postgres_mcp.databases.templates import TemplateKey

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dev_postgres_mcp.databases.sources import Source
    from dev_postgres_mcp.model import InstanceSpec

PROJECT_LABEL = "pytest.project"
RUN_LABEL = "pytest.run"
REUSE_LABEL = "pytest.reuse"
_UNCACHED = "built for run "


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one process of a test run asks for: `run` is the same for all of them, `worker` its own.

    `reuse`: the server outlives the run and serves the next one.  `cached`: what other runs built is trusted;
    `rebuild`: once it is built anew all the same.  `snapshot_ttl` in seconds, None for no end.
    """

    run: str
    worker: str
    project: Path
    spec: InstanceSpec
    sources: tuple[Source, ...] = ()
    inputs: tuple[Path, ...] = ()
    reuse: bool = False
    cached: bool = True
    rebuild: bool = False
    snapshot_ttl: float | None = None

    @property
    def lasting(self) -> bool:
        """Tell whether other runs may use the template: they must be able to see when it is out of date."""
        return self.cached and (bool(self.inputs) or not any(source.reads_unknown for source in self.sources))

    def template_key(self, image_id: str) -> TemplateKey | None:
        """Return which template is meant on servers of an image; None without sources."""
        if not self.sources:
            return None
        about = (
            image_id,
            self.spec.database,
            self.spec.username,
            "" if self.lasting else _UNCACHED + self.run,
        )
        digest = fingerprint(self.sources, self.inputs, base=self.project, about=about)
        return TemplateKey(digest=digest, run=self.run, rebuild=self.rebuild)

    def labels(self, image_id: str) -> dict[str, str]:
        """Return the labels of a server for this plan."""
        ours = {PROJECT_LABEL: str(self.project), RUN_LABEL: self.run}
        return ours | ({REUSE_LABEL: self._reuse_key(image_id)} if self.reuse else {})

    def fits(self, labels: Mapping[str, str], image_id: str) -> bool:
        """Tell whether a server with these labels is the one that this plan means."""
        name = REUSE_LABEL if self.reuse else RUN_LABEL
        return labels.get(name) == self.labels(image_id)[name]

    def _reuse_key(self, image_id: str) -> str:
        spec = self.spec
        parts = (str(self.project), image_id, spec.database, spec.username, repr(spec.limits))
        return sha256("\0".join(parts).encode()).hexdigest()[:16]
