"""What can be configured, with its defaults and the rules for its values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, SecretStr

from dev_postgres_mcp.errors import InvalidInput
from dev_postgres_mcp.model import DEFAULT_VERSION
from dev_postgres_mcp.parsing import (
    check_name,
    check_username,
    parse_duration,
    parse_memory,
    parse_ports,
    parse_size,
    parse_version,
    render_duration,
    render_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable


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
Duration = Annotated[
    Annotated[float, Field(ge=1)] | None, _parsed(parse_duration), PlainSerializer(render_duration)
]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Settings(BaseModel):
    """What can be configured.  Sizes in bytes (texts such as `512m` are read), durations in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[str, _parsed(parse_version)] = Field(
        DEFAULT_VERSION, description="PostgreSQL major version when none is asked for."
    )
    image_repository: str = Field("postgres", min_length=1, description="Image name before `:<version>`.")
    database: Annotated[str, _parsed(lambda name: check_name(name, what="database"))] = Field(
        "postgres", description="Database when none is asked for."
    )
    username: Annotated[str, _parsed(check_username)] = Field(
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
    ttl: Duration = Field(86_400.0, description="Lifetime of an instance when none is asked for.")
    idle_timeout: Duration = Field(
        None, description="Time without a client after which an instance of the shell ends."
    )
    mcp_idle_timeout: Duration = Field(7_200.0, description="The same for instances made over MCP.")
    pytest_idle_timeout: Duration = Field(
        300.0, description="The same for instances of a test run, once nothing of the run is alive."
    )
    max_lifetime: Duration = Field(
        7 * 86_400.0, description="Longest life of an instance, however often it is extended."
    )
    pool_size: int = Field(1, ge=0, le=100, description="Spares that `mcp serve` keeps; 0: none.")
    spare_ttl: Annotated[
        float, Field(ge=3, le=3600), _parsed(parse_duration), PlainSerializer(render_duration)
    ] = Field(90.0, description="How long a spare outlives a server that was killed.")
    pool_memory_share: float = Field(
        0.25, gt=0, le=1, description="Share of the engine's free memory that one spare may take."
    )
    snapshot_ttl: Duration = Field(7 * 86_400.0, description="How long a snapshot is kept.")
    max_snapshot_size: Size = Field(
        20 * 1024**3, ge=0, description="Disk space for snapshots; beyond it the oldest unused ones go."
    )
    runtime: Literal["auto", "docker", "embedded"] = Field(
        "auto", description="Where instances live; auto: Docker when an engine answers, else embedded."
    )
    embedded_directory: str = Field(
        "", description="Where PostgreSQL's programs are, for the embedded runtime; empty: looked for."
    )
    embedded_storage: Literal["auto", "disk", "memory"] = Field(
        "auto", description="Where its clusters lie; auto: in memory when there is clear room."
    )
    docker_host: str = Field("", description="Engine address; empty: found as the docker command finds it.")
    publish_host: str = Field("", description="Address of a remote engine on which its instances listen.")
    session: str = Field("", description="Owner label: the session that asks; empty: chosen by the program.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="Least level of logs."
    )
    log_format: Literal["text", "json"] = Field("text", description="Form of logs on stderr.")

    @property
    def port_range(self) -> range:
        """Return the ports as a range."""
        return range(self.ports[0], self.ports[1] + 1)
