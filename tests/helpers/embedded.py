"""The stage of the embedded runtime: servers that are processes of this machine, in a directory of the test's own."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import DevPostgresError
from dev_postgres_mcp.parsing import new_id
from dev_postgres_mcp.runtimes.base import Kind
from dev_postgres_mcp.runtimes.embedded import processes
from dev_postgres_mcp.runtimes.embedded.files import EXIT, SERVER, SUPERVISOR, read_plan, read_process
from dev_postgres_mcp.runtimes.embedded.providers import find_provider
from dev_postgres_mcp.runtimes.embedded.runtime import EmbeddedOptions, EmbeddedRuntime
from dev_postgres_mcp.runtimes.embedded.storage import Storage
from dev_postgres_mcp.sql.client import PsycopgSql
from tests.helpers.stages import HERE, MEGABYTE, PORTS, new_session, wait_until

if TYPE_CHECKING:
    from dev_postgres_mcp.sql.base import Sql

MEASURED = (sys.executable, "-I")
"""With site-packages, so that what supervisors run counts as covered."""


@dataclass
class EmbeddedStage:
    """Local servers.  `client` makes no difference: whoever shares the directory sees the same."""

    storage: Storage = Storage.AUTO
    root: Path | None = None
    name: str = "embedded"
    version: str = "17"
    memory: int = 512 * MEGABYTE
    session: str = field(default_factory=new_session)

    def __post_init__(self) -> None:
        self._disk = tempfile.TemporaryDirectory(prefix="dpm-", ignore_cleanup_errors=True)
        self.options = EmbeddedOptions(
            directory=self.root or Path(self._disk.name) / "state",
            ports=PORTS,
            storage=self.storage,
            interpreter=MEASURED,
        )

    @property
    def sql(self) -> Sql:
        return PsycopgSql()

    def runtime(self, ports: range = PORTS, *, client: str = HERE) -> EmbeddedRuntime:
        return EmbeddedRuntime(replace(self.options, ports=ports))

    def add_base(self) -> str:
        """Return the only base that there is, and let it be another one from now on: programs in another place.

        For who was there before it is as new, too: what was prepared from the old one is put away.
        """
        runtime = self.runtime()
        for stored in runtime.images():
            if stored.kind is Kind.PREPARED:
                runtime.remove_image(stored.image.id)
        programs = find_provider(self.options.programs, self.version).bin_directory
        there = self.options.directory.with_name(f"programs-{new_id()}")
        there.mkdir()
        for program in programs.iterdir():
            (there / program.name).symlink_to(program)
        self.options = replace(self.options, programs=there)
        return f"postgres:{self.version}"

    def directory(self, container_id: str) -> Path:
        return self.options.directory / "instances" / container_id

    def processes(self, container_id: str) -> list[int]:
        """Return the ids of an instance's processes, the supervisor first."""
        found = read_process(str(self.directory(container_id) / SUPERVISOR))
        return processes.tree(found[0]) if found else []

    def kill(self, container_id: str) -> None:
        found = read_process(str(self.directory(container_id) / SERVER))
        assert found is not None
        os.kill(found[0], signal.SIGKILL)
        wait_until((self.directory(container_id) / EXIT).exists)

    def pause(self, container_id: str) -> None:
        for pid in self.processes(container_id):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        supervisor = self.processes(container_id)[0]
        wait_until(lambda: processes.stands_still(supervisor))

    def close(self) -> None:
        runtime = self.runtime()
        for container in runtime.list():
            plan = read_plan(str(self.directory(container.container_id)))
            with suppress(DevPostgresError):
                runtime.remove(container.container_id)
            assert not processes.working_in(plan.data), "a server outlived its instance"
        self._disk.cleanup()
