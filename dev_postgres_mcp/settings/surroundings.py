"""What the process finds around it: the user, this machine, and what the docker command goes by."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_state_path

if TYPE_CHECKING:
    from collections.abc import Mapping

_APP = "dev-postgres-mcp"


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
    server_directory: Path
    ci: bool = False
    docker: Mapping[str, str] = field(default_factory=dict)


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
        runtime_dir=Path(runtime_dir) if runtime_dir else _default_runtime_dir(),
        state_directory=user_state_path(_APP),
        server_directory=_server_directory(),
        ci=os.environ.get("CI", "").lower() not in {"", "0", "false", "no"},
        docker={key: value for key, value in os.environ.items() if key.startswith("DOCKER_") and value},
    )


def ignore_libpq_environment() -> None:
    """Take libpq's variables out of this process: they are meant for the user's databases, not for ours.

    Only for our own program; where we are a library the environment is somebody else's.
    """
    for variable in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[variable]


def child_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return our environment for a child process, with `variables` on top."""
    return {**os.environ, **variables}


def _default_runtime_dir() -> Path | None:
    """Return where systemd puts a user's sockets when a shell without a login session does not say."""
    return Path(f"/run/user/{os.getuid()}") if sys.platform == "linux" else None


def _server_directory() -> Path:
    """Return where local servers live: root's own directories are closed to the users that its servers may run as."""
    theirs = sys.platform != "win32" and os.geteuid() == 0 and not os.environ.get("XDG_STATE_HOME")
    return Path("/var/lib") / _APP if theirs else user_state_path(_APP) / "embedded"


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
