"""The error tree: one document of everything that can go wrong, and what to do next.

    DevPostgresError
    |- InvalidInput               a value that cannot work; says which and what would
    |  `- InvalidConfiguration    the same, in a file, the environment or a flag
    |- InstanceNotFound           no instance answers to that reference
    |- SnapshotNotFound           no snapshot answers to that name
    |- SnapshotInUse              instances stand on it; lists them, branches and restored ones apart
    |- AmbiguousReference         several do; lists them
    |- EngineUnavailable          no engine to work with
    |  |- EngineNotFound          none was found where one could be
    |  |- EnginePermissionDenied  one is there, and this user may not use it
    |  |- EngineDown              one is named, and does not answer
    |  |- EngineUnsupported       it speaks no API version that we do
    |  `- ProviderNotFound        nobody brings the server programs that a local server needs
    |- EngineFailed               the engine answered with an error of its own
    |  |- PortConflict            somebody else has the port; another one is tried
    |  `- DiskFull                the engine's disk has no room left
    |- LimitReached               more than the configured ceilings allow
    |  `- PortsExhausted          every port of the range is taken
    |- ImageUnavailable           the image is absent and could not be pulled
    |  |- ImageNotFound           no registry has it
    |  |- ImageUnauthorized       the registry wants a login
    |  |- ImageRateLimited        the registry wants us to wait
    |  `- RegistryUnreachable     offline, or cut while pulling
    |- ImageUnsuitable            the image breaks the official image's contract
    |- ServerNotReady             the server exited, or never accepted a login
    |  `- InitFailed              an init script or extension failed
    |- LoginFailed                one login did not work
    |- DatabaseFailed             a database could not be made, cloned or dropped
    |  `- TemplateFailed          a template could not be built; says at which of its inputs
    |- DeadlineExceeded           a verb took longer than it may
    `- Cancelled                  the caller went away; what was begun is undone

Every error has a stable `code`, says what was attempted on what, and hints what to do next.  Exit codes
and MCP texts are tables in the faces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from dev_postgres_mcp.model import Evidence


class DevPostgresError(Exception):
    """Base of all our errors.  `retry_after` is in seconds, None when nothing is known."""

    code: ClassVar[str] = "failed"
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        evidence: Evidence | None = None,
        retry_after: float | None = None,
    ) -> None:
        """Keep what was attempted (`message`), what to do next (`hint`) and what is left to look at."""
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint
        self.evidence = evidence
        self.retry_after = retry_after

    def explain(self) -> str:
        """Return message, evidence and hint as one text for a person or a model."""
        parts = [self.message]
        if self.evidence is not None:
            parts.append(self.evidence.summary())
        if self.hint:
            parts.append(f"hint: {self.hint}")
        return "\n".join(parts)


class InvalidInput(DevPostgresError):
    """A value that cannot work."""

    code = "invalid_input"


class InvalidConfiguration(InvalidInput):
    """A setting that cannot work, with the place it came from."""

    code = "invalid_configuration"


class InstanceNotFound(DevPostgresError):
    """No instance answers to that reference."""

    code = "instance_not_found"
    default_hint = "list the instances to see what is there; it may have been dropped already"


class SnapshotNotFound(DevPostgresError):
    """No snapshot answers to that name."""

    code = "snapshot_not_found"
    default_hint = "list the snapshots to see what is there; it may have expired"


class SnapshotInUse(DevPostgresError):
    """Instances stand on it."""

    code = "snapshot_in_use"
    default_hint = "drop them first, or delete with force, which drops branches too"


class AmbiguousReference(DevPostgresError):
    """Several instances answer to that reference."""

    code = "ambiguous_reference"
    default_hint = "repeat with one of these ids"


class EngineUnavailable(DevPostgresError):
    """No engine to work with."""

    code = "engine_unavailable"
    retryable = True


class EngineNotFound(EngineUnavailable):
    """None was found where one could be."""

    code = "engine_not_found"


class EnginePermissionDenied(EngineUnavailable):
    """One is there, and this user may not use it."""

    code = "engine_permission_denied"
    retryable = False


class EngineDown(EngineUnavailable):
    """One is named, and does not answer."""

    code = "engine_down"


class EngineUnsupported(EngineUnavailable):
    """It speaks no API version that we do."""

    code = "engine_unsupported"
    retryable = False


class ProviderNotFound(EngineUnavailable):
    """Nobody brings the server programs that a local server needs."""

    code = "provider_not_found"
    retryable = False


class EngineFailed(DevPostgresError):
    """The engine answered with an error of its own."""

    code = "engine_failed"


class PortConflict(EngineFailed):
    """Somebody else has the port."""

    code = "port_conflict"
    retryable = True


class DiskFull(EngineFailed):
    """The engine's disk has no room left."""

    code = "disk_full"
    default_hint = "make room (`docker system df`, `dev-postgres-mcp postgres drop --all`), then try again"


class LimitReached(DevPostgresError):
    """More than the configured ceilings allow."""

    code = "limit_reached"
    default_hint = "drop an instance that is not needed any more, or raise the ceiling in the settings"


class PortsExhausted(LimitReached):
    """Every port of the range is taken."""

    code = "ports_exhausted"
    default_hint = "drop an instance, or widen the range with the setting `ports`"


class ImageUnavailable(DevPostgresError):
    """The image is absent and could not be pulled."""

    code = "image_unavailable"


class ImageNotFound(ImageUnavailable):
    """No registry has it."""

    code = "image_not_found"


class ImageUnauthorized(ImageUnavailable):
    """The registry wants a login."""

    code = "image_unauthorized"


class ImageRateLimited(ImageUnavailable):
    """The registry wants us to wait."""

    code = "image_rate_limited"
    retryable = True


class RegistryUnreachable(ImageUnavailable):
    """Offline, or cut while pulling."""

    code = "registry_unreachable"
    retryable = True


class ImageUnsuitable(DevPostgresError):
    """The image breaks the official image's contract."""

    code = "image_unsuitable"
    default_hint = "use `postgres:<version>` or an image made from it, such as pgvector/pgvector:pg17"


class ServerNotReady(DevPostgresError):
    """The server exited, or never accepted a login."""

    code = "server_not_ready"


class InitFailed(ServerNotReady):
    """An init script or extension failed."""

    code = "init_failed"


class LoginFailed(DevPostgresError):
    """One login did not work."""

    code = "login_failed"
    retryable = True


class DatabaseFailed(DevPostgresError):
    """A database could not be made, cloned or dropped."""

    code = "database_failed"


class TemplateFailed(DatabaseFailed):
    """A template could not be built; nothing of it is used."""

    code = "template_failed"


class DeadlineExceeded(DevPostgresError):
    """A verb took longer than it may."""

    code = "deadline_exceeded"
    retryable = True


class Cancelled(DevPostgresError):
    """The caller went away; what was begun is undone."""

    code = "cancelled"
