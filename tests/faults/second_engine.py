"""A Docker Engine of our own that may be stopped, killed and filled: the machine's own is never touched.

It lives in a network namespace (an engine rewrites the firewall and deletes bridges that it does not know)
and a mount namespace, and keeps its data on a small file system in a file, which can be filled.  Ports that
it publishes exist in its namespace only: programs that connect to them run there (`enter`).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.integration.shell import LABEL, docker, surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DISK_BYTES = 1_500 * 1024**2
PATIENCE = 60.0
_SET_UP = 'ip link set lo up && mount -o loop,noatime,nodiscard "$0" "$1" && echo ready && exec cat'


class SecondEngine:
    """A `dockerd` with its containerd and its disk.  `close` ends every process that it has started."""

    def __init__(self) -> None:
        """Make the namespaces and the disk, and start the engine on it."""
        self.home = Path(tempfile.mkdtemp(prefix="second-engine-"))
        self.address = f"unix://{self.home}/sock"
        self._mount = self.home / "disk"
        self._log = self.home / "dockerd.log"
        self._dockerd: subprocess.Popen[bytes] | None = None
        self._holder = self._make_namespaces()
        self._namespace = Path(f"/proc/{self._holder.pid}/ns/net").readlink()
        self.start()

    def _make_namespaces(self) -> subprocess.Popen[str]:
        """Start the process that keeps the namespaces, and with them the mount, while its stdin is open."""
        self._mount.mkdir()
        disk = self.home / "disk.ext4"
        with disk.open("wb") as file:
            file.truncate(DISK_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", disk], check=True)
        holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", _SET_UP, disk, self._mount],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        return holder

    # --- the daemon ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        command = [
            "dockerd",
            f"--data-root={self._mount}/data",
            f"--exec-root={self.home}/exec",
            f"--pidfile={self.home}/pid",
            f"--host={self.address}",
            "--bridge=none",
            "--shutdown-timeout=5",
        ]
        with self._log.open("ab") as log:
            self._dockerd = subprocess.Popen(
                self.enter(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self.answers, "the second engine answers")

    def answers(self) -> bool:
        """Tell whether the daemon answers; fails when it has ended by itself."""
        assert self._dockerd is not None
        assert self._dockerd.poll() is None, self._log.read_text()[-2000:]
        return bool(docker("version", "--format", "{{.Server.Version}}", host=self.address, check=False))

    def send(self, number: signal.Signals) -> None:
        """Send the daemon a signal; nsenter has become it."""
        assert self._dockerd is not None
        self._dockerd.send_signal(number)

    def kill(self) -> None:
        """End the daemon as a crash would; its containers live on without it."""
        self.send(signal.SIGKILL)
        assert self._dockerd is not None
        self._dockerd.wait(PATIENCE)
        # Its containerd dies with it, but until somebody reaps it, its pid seems to be alive.
        for left in ("pid", "sock", "exec/containerd/containerd.pid"):
            (self.home / left).unlink(missing_ok=True)

    def stop(self) -> None:
        """End the daemon as a shutdown of the machine would: it stops its containers."""
        self.send(signal.SIGTERM)
        assert self._dockerd is not None
        self._dockerd.wait(PATIENCE)

    def restart(self) -> None:
        """Stop the daemon and start it again."""
        self.stop()
        self.start()

    def recover(self) -> None:
        """Bring back whatever a test has taken: the daemon and the room on its disk."""
        assert self._dockerd is not None
        self.send(signal.SIGCONT)
        self.free_disk()
        if self._dockerd.poll() is not None:
            self.start()

    # --- work with it -------------------------------------------------------------------------------

    def enter(self, *command: str) -> list[str]:
        """Return the command line that runs a command where the engine's ports are."""
        return ["nsenter", f"--target={self._holder.pid}", "--net", "--mount", "--", *command]

    def docker(self, *arguments: str, check: bool = True) -> str:
        """Return what the docker command says about this engine."""
        return docker(*arguments, host=self.address, check=check)

    def environment(self, *, state_home: Path | None = None, **settings: Any) -> dict[str, str]:
        """Return an environment in which our program works on this engine."""
        ours = {f"DEV_POSTGRES_MCP_{name.upper()}": str(value) for name, value in settings.items()}
        home = {"HOME": str(self.home), "XDG_STATE_HOME": str(state_home or self.home / "state")}
        return surroundings(DEV_POSTGRES_MCP_DOCKER_HOST=self.address, **home, **ours)

    def begin(self, *arguments: str, **settings: Any) -> subprocess.Popen[str]:
        """Start our program beside the engine; stdout and stderr are pipes."""
        return subprocess.Popen(
            self.enter(sys.executable, "-m", "dev_postgres_mcp", *arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment(**settings),
        )

    def run(self, *arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run our program beside the engine to its end."""
        with self.begin(*arguments, **settings) as child:
            out, err = child.communicate(timeout=PATIENCE + 30)
        return subprocess.CompletedProcess(arguments, child.returncode, out, err)

    def ask(self, *arguments: str, **settings: Any) -> dict[str, Any]:
        """Run one of our commands that has to work; return its JSON."""
        done = self.run("postgres", *arguments, "--format", "json", **settings)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def listed(self) -> list[dict[str, Any]]:
        """Return what our program lists."""
        found: list[dict[str, Any]] = self.ask("list")["instances"]
        return found

    def containers(self) -> list[str]:
        """Return the names of all containers, ours or not, running or not."""
        return self.docker("ps", "--all", "--format", "{{.Names}}").split()

    def networks(self) -> list[str]:
        """Return the ids of our networks."""
        return self.docker("network", "ls", "--quiet", "--filter", f"label={LABEL}network").split()

    def wait_container(self, state: str = "") -> str:
        """Wait until there is a container (in that state), and return its name."""
        filters = ["--filter", f"status={state}"] if state else []
        names: list[str] = []

        def look() -> bool:
            names[:] = self.docker("ps", "--all", *filters, "--format", "{{.Names}}").split()
            return bool(names)

        wait_until(look, f"there is a container {state}")
        return names[0]

    def end_server(self, container: str) -> None:
        """Kill the server inside a container; returns when that is noted beside it."""
        home = "/var/lib/dev-postgres-mcp"
        script = (
            f"kill -9 $(head -n 1 {home}/data/postmaster.pid); until [ -e {home}/state/exit ]; do :; done"
        )
        self.docker("exec", container, "sh", "-c", script)

    def our_images(self) -> list[str]:
        """Return the ids of all images that we made, named or not."""
        return self.docker("images", "--all", "--quiet", "--filter", f"label={LABEL}kind").split()

    # --- the disk -----------------------------------------------------------------------------------

    def fill_disk(self, leave: int = 0) -> None:
        """Fill the disk up to `leave` bytes; to the last block when that is nothing."""
        filler = f"{self._mount}/filler"
        blocks, size = self._on_disk("stat", "--file-system", "--format", "%a %S", str(self._mount)).split()
        spare = leave or 4 * 1024**2  # the file system's own blocks for the file are among the free ones
        self._on_disk("fallocate", "--length", str(int(blocks) * int(size) - spare), filler)
        if not leave:
            self._on_disk("sh", "-c", 'cat /dev/zero >>"$0" || true', filler)

    def free_disk(self) -> None:
        """Take away what filled it."""
        self._on_disk("rm", "--force", f"{self._mount}/filler")

    def _on_disk(self, *command: str) -> str:
        return subprocess.run(self.enter(*command), check=True, capture_output=True, text=True).stdout

    # --- the end ------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Remove every container and every network of ours, for the next test."""
        if containers := self.docker("ps", "--all", "--quiet").split():
            # Some may be on their way out by themselves, which the engine calls an error.
            self.docker("rm", "--force", "--volumes", *containers, check=False)
            wait_until(lambda: not self.containers(), "the engine is empty")
        if networks := self.networks():
            self.docker("network", "rm", *networks)

    def forget_images(self) -> None:
        """Remove every image that we made."""
        if images := self.our_images():
            self.docker("image", "rm", "--force", *images)

    def close(self) -> None:
        """End all that lives in our network namespace, unmount, and remove the disk."""
        with suppress(AssertionError):
            self.clear()
        if self._dockerd is not None and self._dockerd.poll() is None:
            self.stop()
        inhabitants = set(self._inhabitants())
        for pid in inhabitants.union(*map(_children, inhabitants)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._holder.wait(PATIENCE)
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.stdout.close()
        shutil.rmtree(self.home)

    def _inhabitants(self) -> Iterator[int]:
        """Yield the processes of our network namespace: our own daemons, and nobody else's."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    if (entry / "ns/net").readlink() == self._namespace:
                        yield int(entry.name)


def _children(pid: int) -> list[int]:
    """Return the processes that a process has started: below a shim, a container's first."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def load_image(engine: SecondEngine, *images: str) -> None:
    """Bring images over from the machine's own engine."""
    with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saving:
        subprocess.run(
            ["docker", "--host", engine.address, "load", "--quiet"],
            stdin=saving.stdout,
            check=True,
            capture_output=True,
        )
    assert saving.returncode == 0


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Look again and again; a test that waits for nothing fails after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.02)  # a look takes a process or two, and others want the processor too
