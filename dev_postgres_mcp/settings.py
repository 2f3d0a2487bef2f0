"""Every setting, where it came from, and the only place that reads the environment.

Argument > environment (`DEV_POSTGRES_MCP_*`) > env file > YAML file > default.  An unknown key and a named
file that is missing are errors.  A `.env` is read only when it is named: a checkout that somebody else wrote
must not choose the engine on which we start things.
"""

from __future__ import annotations

import difflib
import getpass
import os
import re
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from dotenv import dotenv_values
from platformdirs import user_config_path, user_state_path
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from dev_postgres_mcp.errors import InvalidConfiguration, InvalidInput
from dev_postgres_mcp.model import DEFAULT_VERSION
from dev_postgres_mcp.parsing import (
    check_name,
    check_username,
    parse_memory,
    parse_ports,
    parse_size,
    parse_version,
    render_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

APP = "dev-postgres-mcp"
PREFIX = "DEV_POSTGRES_MCP_"
_FILE_VARIABLES = {f"{PREFIX}CONFIG", f"{PREFIX}ENV_FILE"}


def _parsed(parse: Callable[[str], Any]) -> BeforeValidator:
    """Return a validator that reads texts with one of our parsers, in pydantic's way of refusing."""

    def validate(value: object) -> object:
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            return value
        try:
            return parse(str(value))
        except InvalidInput as exc:
            raise ValueError(f"{exc.message} ({exc.hint})" if exc.hint else exc.message) from exc

    return BeforeValidator(validate)


def _render_ports(ports: tuple[int, int]) -> str:
    return f"{ports[0]}-{ports[1]}"


def _first_and_last(text: str) -> tuple[int, int]:
    ports = parse_ports(text)
    return ports[0], ports[-1]


Size = Annotated[int, _parsed(parse_size), PlainSerializer(render_size)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Settings(BaseSettings):
    """What can be configured.  Sizes in bytes (texts such as `512m` are read), durations in seconds."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=PREFIX)

    version: Annotated[str, _parsed(parse_version)] = Field(
        DEFAULT_VERSION, description="PostgreSQL major version when none is asked for."
    )
    image_repository: str = Field("postgres", min_length=1, description="Image name before `:<version>`.")
    database: Annotated[str, AfterValidator(lambda name: check_name(name, what="database"))] = Field(
        "postgres", description="Database when none is asked for."
    )
    username: Annotated[str, AfterValidator(check_username)] = Field(
        "postgres", description="Superuser when none is asked for."
    )
    password: SecretStr | None = Field(
        None, description="Password of every instance; empty: a random one for each."
    )
    memory: Annotated[int, _parsed(parse_memory), PlainSerializer(render_size)] = Field(
        512 * 1024**2, description="Memory limit of an instance."
    )
    cpus: float = Field(1.0, ge=0.01, le=1024, description="CPU limit of an instance, in cores.")
    ports: Annotated[tuple[int, int], _parsed(_first_and_last), PlainSerializer(_render_ports)] = Field(
        (15432, 25432), description="Host ports that instances may be published on."
    )
    max_instances: int = Field(50, ge=1, description="How many instances one engine may carry.")
    max_total_memory: Size = Field(
        50 * 512 * 1024**2, ge=1, description="Ceiling for the sum of the memory limits."
    )
    create_timeout: Seconds = Field(60.0, description="Seconds in which a create succeeds or is undone.")
    pull_timeout: Seconds = Field(900.0, description="Seconds that pulling an absent image may take.")
    docker_host: str = Field("", description="Engine address; empty: found as the docker command finds it.")
    publish_host: str = Field("", description="Address of a remote engine on which its instances listen.")
    session: str = Field("", description="Owner label: the session that asks; empty: chosen by the program.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="Least level of logs."
    )
    log_format: Literal["text", "json"] = Field("text", description="Form of logs on stderr.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the base class's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take arguments only: `load_settings` merges the layers, to know where each value came from."""
        return (init_settings,)

    @property
    def port_range(self) -> range:
        """Return the ports as a range."""
        return range(self.ports[0], self.ports[1] + 1)


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
            else _hide_userinfo(str(value if value is not None else ""))
            for key, value in values.items()
        }


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What else the process finds around it: the user, this machine, and what the docker command goes by."""

    home: Path
    user: str
    host: str
    cwd: str
    pid: int
    windows: bool
    runtime_dir: Path | None
    state_directory: Path
    docker: Mapping[str, str] = field(default_factory=dict)


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


def read_surroundings() -> Surroundings:
    """Return what the process finds around it."""
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    return Surroundings(
        home=Path.home(),
        user=_user_name(),
        host=socket.gethostname(),
        cwd=_working_directory(),
        pid=os.getpid(),
        windows=sys.platform == "win32",
        runtime_dir=Path(runtime_dir) if runtime_dir else None,
        state_directory=user_state_path(APP),
        docker={key: value for key, value in os.environ.items() if key.startswith("DOCKER_") and value},
    )


def child_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return our environment for a child process, with `variables` on top."""
    return {**os.environ, **variables}


def _hide_userinfo(text: str) -> str:
    """Strike out the password of a URL such as tcp://user:password@host."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", text)


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
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {close[0]}?" if close else "`dev-postgres-mcp config show` lists the settings"
    return InvalidConfiguration(f"unknown setting {key} in {where}", hint=hint)


def _validate(values: Mapping[str, object], origins: Mapping[str, str]) -> Settings:
    try:
        return Settings(**values)  # type: ignore[arg-type]  # pydantic judges the values
    except InvalidInput as exc:
        raise InvalidConfiguration(exc.message, hint=exc.hint) from exc
    except ValidationError as exc:
        problems = [
            f"{error['loc'][0]} (from {origins[str(error['loc'][0])]}): "
            f"{error['msg'].removeprefix('Value error, ')}"
            for error in exc.errors(include_input=False, include_url=False)
        ]
        raise InvalidConfiguration(
            "; ".join(problems), hint="`dev-postgres-mcp config show` shows where each value comes from"
        ) from exc


def _read_yaml(path: Path) -> dict[str, object]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as exc:
        raise _unreadable(path, exc) from exc
    except yaml.YAMLError as exc:
        raise InvalidConfiguration(
            f"{path} is no YAML: {exc}", hint="write it as `key: value` lines"
        ) from exc
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InvalidConfiguration(f"{path} holds no settings", hint="write it as `key: value` lines")
    return {str(key): value for key, value in content.items()}


def _read_env_file(path: Path) -> dict[str, str | None]:
    try:
        with path.open(encoding="utf-8") as stream:
            return dotenv_values(stream=stream, interpolate=False)
    except (OSError, UnicodeDecodeError) as exc:
        raise _unreadable(path, exc) from exc


def _unreadable(path: Path, exc: OSError | UnicodeDecodeError) -> InvalidConfiguration:
    reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
    return InvalidConfiguration(f"{path} cannot be read: {reason}", hint="mend the path, or leave it out")


def _path_from(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else None


def _user_config() -> Path | None:
    path = user_config_path(APP) / "config.yaml"
    return path if path.is_file() else None


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid()) if sys.platform != "win32" else ""


def _working_directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return ""
