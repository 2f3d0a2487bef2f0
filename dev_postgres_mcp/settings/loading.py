"""From the layers to the effective settings, with the origin of each.

Argument > environment (`DEV_POSTGRES_MCP_*`) > env file > YAML file > default.  An unknown key and a named
file that is missing are errors.  A `.env` is read only when it is named: a checkout that somebody else wrote
must not choose the engine on which we start things.  The libraries that read files are loaded with the first file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_config_path
from pydantic import SecretStr, ValidationError

from dev_postgres_mcp.errors import InvalidConfiguration, InvalidInput
from dev_postgres_mcp.parsing import hide_userinfo
from dev_postgres_mcp.settings.schema import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

_APP = "dev-postgres-mcp"
PREFIX = "DEV_POSTGRES_MCP_"
_FILE_VARIABLES = {f"{PREFIX}CONFIG", f"{PREFIX}ENV_FILE"}


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Settings, with the origin of each key."""

    settings: Settings
    origins: Mapping[str, str]

    def shown(self) -> dict[str, str]:
        """Return each value as a text that may be shown: secrets as `***`."""
        values = self.settings.model_dump()
        return {
            key: "***"
            if isinstance(value, SecretStr)
            else hide_userinfo(str(value if value is not None else ""))
            for key, value in values.items()
        }


def load_settings(
    arguments: Mapping[str, object] | None = None, *, config: Path | None = None, env_file: Path | None = None
) -> Loaded:
    """Return the effective settings; raises InvalidConfiguration with the place of what is wrong."""
    env_file = env_file or _path_from(f"{PREFIX}ENV_FILE")
    config = config or _path_from(f"{PREFIX}CONFIG") or _user_config()
    layers: list[tuple[str, Mapping[str, object]]] = [
        ("argument", {key: value for key, value in (arguments or {}).items() if value is not None}),
        ("environment", _from_variables(os.environ, "the environment")),
    ]
    if env_file is not None:
        layers.append((f"env file {env_file}", _from_variables(_read_env_file(env_file), str(env_file))))
    if config is not None:
        layers.append((f"file {config}", _read_yaml(config)))
    values: dict[str, object] = {}
    origins = dict.fromkeys(Settings.model_fields, "default")
    for origin, layer in reversed(layers):
        _check_keys(layer, origin)
        values |= layer
        origins |= dict.fromkeys(layer, origin)
    return Loaded(settings=_validate(values, origins), origins=origins)


def _from_variables(variables: Mapping[str, str | None], where: str) -> dict[str, object]:
    ours = {key: value for key, value in variables.items() if key.upper().startswith(PREFIX)}
    found: dict[str, object] = {}
    for key, value in ours.items():
        name = key.upper().removeprefix(PREFIX).lower()
        if key.upper() in _FILE_VARIABLES:
            continue
        if name not in Settings.model_fields:
            raise _unknown(key, where, [f"{PREFIX}{known.upper()}" for known in Settings.model_fields])
        if value is not None:
            found[name] = value
    return found


def _check_keys(layer: Mapping[str, object], origin: str) -> None:
    for key in layer:
        if key not in Settings.model_fields:
            raise _unknown(str(key), origin, list(Settings.model_fields))


def _unknown(key: str, where: str, known: list[str]) -> InvalidConfiguration:
    import difflib

    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]}?" if close else "`dev-postgres-mcp config show` lists the settings"
    return InvalidConfiguration(f"unknown setting {key} in {where}", hint=hint)


def _validate(values: Mapping[str, object], origins: Mapping[str, str]) -> Settings:
    try:
        return Settings.model_validate(values)
    except InvalidInput as exc:
        raise InvalidConfiguration(exc.message, hint=exc.hint) from exc
    except ValidationError as exc:
        problems = [
            f"{error['loc'][0]} (from {origins[str(error['loc'][0])]}): "
            f"{error['msg'].removeprefix('Value error, ')}"
            for error in exc.errors(include_input=False, include_url=False)
        ]
        raise InvalidConfiguration(
            "; ".join(problems), hint="fix the value in the place it comes from"
        ) from exc


def _read_yaml(path: Path) -> dict[str, object]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise _unreadable(path, exc) from exc
    except (yaml.YAMLError, ValueError) as exc:
        # Not the parser's own text, and no cause either: both quote the line, which may hold a password.
        mark = exc.problem_mark if isinstance(exc, yaml.MarkedYAMLError) else None
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise InvalidConfiguration(
            f"{path} is no YAML{where}", hint="write it as `key: value` lines"
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InvalidConfiguration(f"{path} holds no settings", hint="write it as `key: value` lines")
    return {str(key): value for key, value in content.items()}


def _read_env_file(path: Path) -> dict[str, str | None]:
    from dotenv import dotenv_values

    try:
        with path.open(encoding="utf-8") as stream:
            return dotenv_values(stream=stream, interpolate=False)
    except (OSError, UnicodeDecodeError) as exc:
        raise _unreadable(path, exc) from exc


def _unreadable(path: Path, exc: OSError | UnicodeDecodeError) -> InvalidConfiguration:
    reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
    return InvalidConfiguration(f"{path} cannot be read: {reason}", hint="fix the path, or leave it out")


def _path_from(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(os.path.expanduser(value)) if value else None  # noqa: PTH111 - leaves ~nobody as it is


def _user_config() -> Path | None:
    path = user_config_path(_APP) / "config.yaml"
    return path if path.is_file() else None
