"""The scripts that an instance starts with, run as the official image runs those of /docker-entrypoint-initdb.d.

In the order of their names, once, against a server that nobody else can reach: it listens on a socket in a directory
of its own only.  Standard library only: the supervisor runs this without our dependencies.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dev_postgres_mcp.runtimes.embedded.files import SOCKETS, write_whole
from dev_postgres_mcp.runtimes.embedded.identity import STEP_DOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev_postgres_mcp.runtimes.embedded.files import Plan
    from dev_postgres_mcp.runtimes.embedded.identity import Identity

_UNPACKERS = {".gz": "gzip -dc", ".xz": "xz -dc", ".zst": "zstd -dc"}
_OPEN_DOOR = "local all all trust\n"


@contextmanager
def private_sockets(plan: Plan, identity: Identity, directory: str) -> Iterator[dict[str, str]]:
    """Yield the settings of a server that only listens where nobody else can reach it, without a password."""
    import tempfile  # only here: it takes as long to load as all the rest

    sockets = tempfile.mkdtemp(prefix="dpm-")
    write_whole(f"{directory}/{SOCKETS}", sockets.encode())
    rules = f"{sockets}/pg_hba.conf"
    write_whole(rules, _OPEN_DOOR.encode())
    if identity.way == STEP_DOWN:
        for path in (sockets, rules):
            os.chown(path, identity.uid, identity.gid)
    try:
        yield {
            "listen_addresses": "",
            "unix_socket_directories": sockets,
            "port": str(plan.port),
            "hba_file": rules,
        }
    finally:
        remove_sockets(sockets)
        os.unlink(f"{directory}/{SOCKETS}")


def remove_sockets(directory: str) -> None:
    """Remove such a directory; nothing else lies in it."""
    try:
        for entry in os.scandir(directory):
            os.unlink(entry.path)
        os.rmdir(directory)
    except FileNotFoundError:
        return


def find_scripts(directory: str) -> list[str]:
    """Return the scripts among the files of a directory, in order."""
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    return [f"{directory}/{name}" for name in names if _command(name, "") is not None]


def script_command(plan: Plan, path: str) -> list[str]:
    """Return how a script is run."""
    command = _command(path, os.path.join(plan.programs, "psql"))
    return ["/bin/sh", "-c", f"set -e\n{command}"]


def script_variables(plan: Plan, sockets: str) -> dict[str, str]:
    """Return what scripts find in their environment, as under the official image."""
    return {
        "PATH": f"{plan.programs}:{os.defpath}",
        "PGHOST": sockets,
        "PGPORT": str(plan.port),
        "PGUSER": plan.username,
        "PGDATABASE": plan.database,
        "POSTGRES_USER": plan.username,
        "POSTGRES_DB": plan.database,
    }


def _command(path: str, psql: str) -> str | None:
    """Return the shell command that runs a file, None for what is no script."""
    import shlex  # as above

    quoted, run = shlex.quote(path), f"{shlex.quote(psql)} -X -v ON_ERROR_STOP=1 --no-password"
    stem, ending = os.path.splitext(path)
    if ending == ".sh":
        return f"if [ -x {quoted} ]; then exec {quoted}; fi; exec bash {quoted}"
    if ending == ".sql":
        return f"exec {run} -f {quoted}"
    if ending in _UNPACKERS and stem.endswith(".sql"):
        # A broken archive must not pass for a short script.
        return f"{_UNPACKERS[ending]} {quoted} >{quoted}.plain && exec {run} -f {quoted}.plain"
    return None
