"""What can be asked for on pytest's command line and in its ini file; the command line wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dev_postgres_mcp.databases.sources import Source

RUNTIMES = ("auto", "docker", "embedded")
KEEPS = ("on-failure", "always", "never")
_TEXTS: Mapping[str, tuple[str, str]] = {
    "runtime": ("auto|docker|embedded", "where servers live"),
    "version": ("MAJOR", "PostgreSQL major version"),
    "image": ("IMAGE", "image of the server, in place of a version"),
    "keep": ("on-failure|always|never", "which databases stay after their test (default: on-failure)"),
}
_LISTS: Mapping[str, tuple[str, str]] = {
    "template": (
        "SOURCE",
        "what databases start with: .sql file, directory of them, `module:callable`, or `cmd:COMMAND`; repeatable",
    ),
    "template_input": (
        "PATH",
        "file, directory or pattern that the template's command or callable reads, so that runs share it; repeatable",
    ),
}
_SWITCHES: Mapping[str, str] = {
    "reuse": "keep the server, and its templates, for the next run",
    "rebuild_template": "build the template anew",
    "no_template_cache": "use no template that another run has built (default: when CI is set)",
}


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What was asked for; what is empty or None was not."""

    runtime: str
    version: str
    image: str
    keep: str
    sources: tuple[Source, ...]
    inputs: tuple[Path, ...]
    reuse: bool
    rebuild: bool
    no_cache: bool | None

    def arguments(self) -> dict[str, object]:
        """Return what goes to our settings, where argument stands above environment and file."""
        given = {"runtime": self.runtime, "version": self.version}
        return {name: value for name, value in given.items() if value}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare each as an option and as an ini setting of the same name."""
    group = parser.getgroup("postgres", "throwaway PostgreSQL databases (dev-postgres-mcp)")
    for name, (metavar, text) in _TEXTS.items():
        group.addoption(_flag(name), metavar=metavar, default=None, help=text)
        parser.addini(f"postgres_{name}", text, type="string", default="")
    for name, (metavar, text) in _LISTS.items():
        group.addoption(_flag(name), metavar=metavar, action="append", default=None, help=text)
        parser.addini(f"postgres_{name}", text, type="linelist", default=[])
    for name, text in _SWITCHES.items():
        group.addoption(_flag(name), action="store_true", default=None, help=text)
        parser.addini(f"postgres_{name}", text, type="string", default="")


def read_choices(config: pytest.Config) -> Choices:
    """Return what was asked for; raises pytest.UsageError for what cannot work."""
    from dev_postgres_mcp.errors import InvalidInput

    try:
        version, image = _read_versions(config)
        return Choices(
            runtime=_one_of(config, "runtime", ("", *RUNTIMES)),
            version=version,
            image=image,
            keep=_one_of(config, "keep", KEEPS) or KEEPS[0],
            sources=_read_sources(config),
            inputs=_read_inputs(config),
            reuse=bool(_read_switch(config, "reuse")),
            rebuild=bool(_read_switch(config, "rebuild_template")),
            no_cache=_read_switch(config, "no_template_cache"),
        )
    except InvalidInput as exc:
        raise pytest.UsageError(exc.explain()) from exc


def _read_versions(config: pytest.Config) -> tuple[str, str]:
    """Return version and image, of which one may be given; one on the command line beats both in the file."""
    version, image = (str(config.getoption(_dest(name)) or "") for name in ("version", "image"))
    if not (version or image):
        version, image = (str(config.getini(_dest(name))) for name in ("version", "image"))
    if version and image:
        raise pytest.UsageError(
            "postgres: both a version and an image are given; the image decides its version"
        )
    if version:
        from dev_postgres_mcp.parsing import parse_version

        return parse_version(version), ""
    if image:
        from dev_postgres_mcp.parsing import check_image

        return "", check_image(image)
    return "", ""


def _one_of(config: pytest.Config, name: str, known: Sequence[str]) -> str:
    value = str(config.getoption(_dest(name)) or config.getini(_dest(name)))
    if value and value not in known:
        listed = ", ".join(one for one in known if one)
        raise pytest.UsageError(f"{_flag(name)}: {value!r} is none of {listed}")
    return value


def _read_switch(config: pytest.Config, name: str) -> bool | None:
    if config.getoption(_dest(name)):
        return True
    text = str(config.getini(_dest(name))).lower()
    if text not in {"", "true", "yes", "on", "1", "false", "no", "off", "0"}:
        raise pytest.UsageError(f"{_dest(name)}: {text!r} is neither true nor false")
    return text in {"true", "yes", "on", "1"} if text else None


def _read_sources(config: pytest.Config) -> tuple[Source, ...]:
    texts, base = _read_list(config, "template")
    if not texts:
        return ()
    from dev_postgres_mcp.databases.sources import parse_source

    return tuple(parse_source(text, base=base) for text in texts)


def _read_inputs(config: pytest.Config) -> tuple[Path, ...]:
    texts, base = _read_list(config, "template_input")
    if not texts:
        return ()
    from dev_postgres_mcp.databases.sources import find_inputs

    return find_inputs(texts, base=base)


def _read_list(config: pytest.Config, name: str) -> tuple[list[str], Path]:
    """Return the texts, and the directory that their paths start from: where they were written."""
    given: list[str] | None = config.getoption(_dest(name))
    if given:
        return given, config.invocation_params.dir
    written: list[str] = config.getini(_dest(name))
    return written, config.inipath.parent if config.inipath else config.rootpath


def _dest(name: str) -> str:
    return f"postgres_{name}"


def _flag(name: str) -> str:
    return "--" + _dest(name).replace("_", "-")
