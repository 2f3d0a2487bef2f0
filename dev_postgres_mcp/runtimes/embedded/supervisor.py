"""The dead-man switch of one instance: a process that starts its server and ends with it when the lease is over.

It needs nobody: whoever asked for the instance may be gone.  As long as its owner, who starts it, has not let go of
its standard input, the instance is the owner's alone and ends with that process.  It sleeps until the next event.
Standard library only: it starts in a few hundredths of a second, and runs without our dependencies.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from dev_postgres_mcp.runtimes.embedded import cgroups, clients, copying, leftovers, processes
from dev_postgres_mcp.runtimes.embedded.files import (
    CONFLICT,
    DONE,
    ENDED,
    EXIT,
    FREEZE,
    FROZEN,
    INIT,
    KEEP,
    LOCK,
    LOG,
    MAX_LOG,
    READY,
    SPARE,
    STATE,
    SUPERVISOR,
    WHOLE,
    hold_lock,
    read_json,
    read_plan,
    read_text,
    write_whole,
)
from dev_postgres_mcp.runtimes.embedded.scripts import (
    find_scripts,
    private_sockets,
    script_command,
    script_variables,
)
from dev_postgres_mcp.runtimes.embedded.server import Failed, Server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dev_postgres_mcp.runtimes.embedded.files import Plan

_TICK = 60.0
"""Longest sleep: the clock may be set, the machine may have been suspended."""
_IDLE_TICK = 30.0
_READY_TICK = 0.002
_STOP_SECONDS = 4.0
_QUIT_SECONDS = 2.0
_CONFLICT = "could not create any TCP/IP sockets"
_INIT_FAILED = 1
_ENDS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}


class Ending(Exception):
    """The instance is to end.  `quickly`: its clients need not be told."""

    def __init__(self, *, quickly: bool = False) -> None:
        super().__init__()
        self.quickly = quickly


class Supervisor:
    """One instance from its birth to its end.  Single-threaded."""

    def __init__(self, directory: str, plan: Plan, log: int, lock: int) -> None:
        """Look after the instance whose files lie in `directory`, and whose lock is held by `lock`."""
        self._directory = directory
        self._plan = plan
        self._server = Server(plan, directory, log)
        self._log = log
        self._lock = lock
        self._owned = True
        self._lease = (plan.birth_end, 0.0)
        self._last_used = clients.now()
        self._ended = False
        self._asked: set[int] = set()
        self._waking, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _pipe()
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def run(self) -> None:
        """Live; returns when nothing is left of it."""
        quickly = False
        try:
            self._be_born()
            while True:
                self._sleep(self._look())
        except Ending as ending:
            quickly = ending.quickly
        finally:
            self._stop(quickly=quickly)
            leftovers.put_away(self._directory, self._plan)

    def _be_born(self) -> None:
        """Bring the server up; what fails is evidence, to be read until the lease ends."""
        try:
            if not os.path.exists(self._path(WHOLE)):
                self._make_cluster()
        except (Failed, OSError, copying.TablespaceFound) as exc:
            self._say(f"FATAL:  the cluster could not be made: {exc}")
            self._note_exit(_INIT_FAILED)
            self._tell(ENDED)
            return
        self._server.start(self._reachable())
        while not self._server.is_ready():
            code = self._server.poll()
            if code is not None:
                if _CONFLICT in read_text(self._path(LOG)):
                    self._tell(CONFLICT)
                    raise Ending(quickly=True)
                self._note_exit(code)
                self._tell(ENDED)
                return
            self._sleep(_READY_TICK)
        self._tell(READY)

    def _make_cluster(self) -> None:
        plan = self._plan
        self._server.place_cluster()
        self._sleep(0)  # whoever asked for it may be gone by now
        statements = []
        if plan.new:
            statements.append(f"CREATE DATABASE {_identifier(plan.database)}")
        if os.path.exists(self._path(STATE)):
            password = read_json(self._path(STATE))["record"]["password"]
            statements.append(f"ALTER ROLE {_identifier(plan.username)} PASSWORD {_literal(password)}")
        if statements:
            self._server.adjust(statements)
        if scripts := find_scripts(self._path(INIT)):
            self._run_scripts(scripts)
        write_whole(self._path(WHOLE), b"")

    def _run_scripts(self, scripts: Sequence[str]) -> None:
        with private_sockets(self._plan, self._server.identity, self._directory) as settings:
            self._server.start(settings)
            while not self._server.is_ready():
                if self._server.poll() is not None:
                    raise Failed("the server that was to run the scripts did not start")
                self._sleep(_READY_TICK)
            variables = script_variables(self._plan, settings["unix_socket_directories"])
            for script in scripts:
                self._say(f"running {os.path.basename(script)}")
                self._run_script(script_command(self._plan, script), variables)
            self._stop()

    def _run_script(self, command: Sequence[str], variables: Mapping[str, str]) -> None:
        process = self._server.run_script(command, variables)
        try:
            while process.poll() is None:
                self._sleep(self._look())
        finally:
            if process.poll() is None:
                for pid in processes.tree(process.pid):
                    with suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                process.wait()
        if process.returncode != 0:
            raise Failed(f"a script ended with exit code {process.returncode}")

    def _reachable(self) -> dict[str, str]:
        return {
            "listen_addresses": "127.0.0.1",
            "port": str(self._plan.port),
            "unix_socket_directories": "",
        }

    def _look(self) -> float:
        """Do what is asked for; return the seconds until something has to be looked at.  Raises Ending."""
        if not self._ended and (code := self._server.poll()) is not None:
            self._note_exit(code)
        self._copy_for_whoever_asks()
        self._trim_log()
        expires, idle = self._read_lease()
        now = time.time()
        ends = [end - now for end in (expires, self._plan.hard_end) if end]
        if idle:
            unused = clients.seconds_unused(self._plan.port)
            if unused is not None:
                self._last_used = max(self._last_used, clients.now() - unused)
            ends.append(self._last_used + idle - clients.now())
        left = min([*ends, _IDLE_TICK if idle else _TICK])
        if left <= 0:
            raise Ending
        return left

    def _read_lease(self) -> tuple[float, float]:
        """Return when it ends, and after how long without a client; the last good one when there is no other."""
        lease = None
        with suppress(OSError, ValueError, KeyError, TypeError):
            expires, idle = read_json(self._path(STATE))["lease"].split()
            lease = (float(expires), float(idle))
        if lease is None:
            with suppress(ValueError):
                lease = (float(read_text(self._path(SPARE))), 0.0)
        if lease is not None and lease != self._lease:
            # Without a client from now on, not since some time before the lease was changed.
            self._last_used = clients.now()
            self._lease = lease
        return self._lease

    def _copy_for_whoever_asks(self) -> None:
        """Copy the cluster to where a file says, while the server stands still."""
        for name in os.listdir(self._directory):
            if not name.startswith(FREEZE) or name.endswith(".new"):
                continue
            target = read_text(self._path(name))
            os.unlink(self._path(name))
            answer = self._copy_standing_still(target)
            # The disk may be full by that; an answer that cannot be written is waited for in vain, and no more.
            with suppress(OSError):
                if answer:
                    copying.remove_tree(target)
                write_whole(self._path(FROZEN + name.removeprefix(FREEZE)), answer.encode())

    def _copy_standing_still(self, target: str) -> str:
        """Return what went wrong, nothing when the copy is whole."""
        if self._ended:
            return "its server has ended"
        try:
            if not self._server.stand_still():
                return "its processes could not be brought to stand still"
            copying.copy_cluster(self._plan.data, target)
        except copying.TablespaceFound as exc:
            return f"a tablespace lies outside of the cluster: {exc}"
        except OSError as exc:
            return f"{exc.strerror}: {exc.filename}" if exc.filename else f"{exc.strerror}"
        finally:
            self._server.go_on()
        return ""

    def _sleep(self, seconds: float) -> None:
        """Wait for an event, at most so long.  Raises Ending when somebody asks for it, or the owner is gone."""
        watched = [self._waking, *([0] if self._owned else [])]
        ready, _, _ = select.select(watched, [], [], 0 if self._asked else max(0.0, seconds))
        self._take_signals()
        if signal.SIGQUIT in self._asked:
            raise Ending(quickly=True)
        if self._asked:
            raise Ending
        if 0 in ready:
            self._owned = False
            if os.read(0, 1) != KEEP:
                raise Ending(quickly=True)

    def _stop(self, *, quickly: bool = False) -> None:
        """Stop the server: its clients hear of it (57P01) unless it has to be quick."""
        self._server.go_on()
        if not quickly:
            self._server.signal(signal.SIGINT)
            self._wait_for_end(_STOP_SECONDS)
        self._server.signal(signal.SIGQUIT)
        self._wait_for_end(_QUIT_SECONDS)
        self._server.signal(signal.SIGKILL)
        self._wait_for_end(_QUIT_SECONDS)

    def _wait_for_end(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._server.pid and self._server.poll() is None and time.monotonic() < end:
            select.select([self._waking], [], [], max(0.0, end - time.monotonic()))
            self._take_signals()

    def _take_signals(self) -> None:
        """Note which ends were asked for; all other signals have done their work by waking us."""
        with suppress(BlockingIOError):
            self._asked.update(set(os.read(self._waking, 4096)) & _ENDS)

    def _note_exit(self, code: int) -> None:
        self._ended = True
        kills = cgroups.count_oom_kills(self._plan.cgroups)
        try:
            write_whole(self._path(EXIT), f"{code} {int(time.time())} {kills}\n".encode())
        except OSError as exc:
            self._say(f"its end with exit code {code} could not be noted: {exc}")

    def _trim_log(self) -> None:
        """Begin it anew before it fills the disk; whoever writes to it appends."""
        if os.fstat(self._log).st_size > MAX_LOG:
            os.ftruncate(self._log, 0)

    def _tell(self, word: str) -> None:
        """Answer the owner, who may be gone."""
        with suppress(OSError):
            os.write(1, f"{word}\n".encode())
        os.dup2(self._log, 1)

    def _say(self, text: str) -> None:
        with suppress(OSError):
            os.write(self._log, f"{text}\n".encode())

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)


class Builder(Supervisor):
    """Makes a cluster that is started by somebody else, or only copied from."""

    def run(self) -> None:
        """Build, and say how that went as the last thing: from then on the directory is somebody else's."""
        word = ENDED
        try:
            self._make_cluster()
            word = DONE
        except (Failed, OSError, copying.TablespaceFound) as exc:
            self._say(f"FATAL:  the cluster could not be made: {exc}")
        except Ending:
            self._say("the making of the cluster was broken off")
        finally:
            self._stop()
            os.unlink(self._path(SUPERVISOR))
            os.close(self._lock)
        self._tell(word)


def main(directory: str) -> None:
    """Look after the instance in `directory`, as a process of its own that nobody waits for."""
    os.chdir("/")
    if os.fork():
        os._exit(0)
    os.setsid()
    with suppress(OSError):
        plan = read_plan(directory)
        log = os.open(
            os.path.join(directory, LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        os.dup2(log, 2)
        lock = hold_lock(os.path.join(directory, LOCK))
        if not lock:
            os._exit(0)
        note = f"{os.getpid()} {processes.started_at(os.getpid())}\n"
        write_whole(os.path.join(directory, SUPERVISOR), note.encode())
        building = plan.build and not os.path.exists(os.path.join(directory, WHOLE))
        (Builder if building else Supervisor)(directory, plan, log, lock).run()
    os._exit(0)


def _pipe() -> tuple[int, int]:
    """Return a pipe that never blocks, where the system has no call for that."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    return reading, writing


def _literal(text: str) -> str:
    """Return a string constant without a line break, a quote or a backslash of its own (manual, 4.1.2.2)."""
    return "E'" + "".join(_escape(char, "\\u{:04X}", "\\U{:08X}") for char in text) + "'"


def _identifier(text: str) -> str:
    """Return a quoted identifier of the same kind (manual, 4.1.1)."""
    return 'U&"' + "".join(_escape(char, "\\{:04X}", "\\+{:06X}") for char in text) + '"'


def _escape(char: str, short: str, long: str) -> str:
    if char.isascii() and char.isalnum():
        return char
    return short.format(ord(char)) if ord(char) <= 0xFFFF else long.format(ord(char))  # noqa: PLR2004 - what four digits hold


if __name__ == "__main__":
    main(sys.argv[1])
