"""When a server was last used, as the system's own table of connections shows it; no SQL, no login.

Standard library only: the supervisor runs this without our dependencies.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

_ESTABLISHED, _TIME_WAIT = "01", "06"
_LINGERS = 60.0
"""Seconds for which Linux remembers a closed connection (TCP_TIMEWAIT_LEN)."""
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


def seconds_unused(port: int) -> float | None:
    """Return for how long no client has been connected to a port of this machine: 0 while one is.

    None when there was none within the last minute, or nobody says.
    """
    if sys.platform != "linux":
        return 0.0 if _asks_netstat(port) else None
    return min(_read_tables(port), default=None)


def _read_tables(port: int) -> list[float]:
    suffix = f":{port:04X}"
    found = []
    for table in _TABLES:
        try:
            with open(table, encoding="ascii") as rows:
                for row in rows:
                    fields = row.split(None, 6)
                    if len(fields) < 6 or suffix not in (fields[1][-5:], fields[2][-5:]):  # noqa: PLR2004 - up to the timer
                        continue
                    if fields[3] == _ESTABLISHED:
                        found.append(0.0)
                    elif fields[3] == _TIME_WAIT:
                        # `tr:tm->when` of proc_pid_net_tcp(5): the time that is left, in the clock's ticks.
                        left = int(fields[5].partition(":")[2], 16) / os.sysconf("SC_CLK_TCK")
                        found.append(max(0.0, _LINGERS - left))
        except (OSError, ValueError):
            continue
    return found


def _asks_netstat(port: int) -> bool:
    """Tell whether a client is connected or was lately, on systems that write addresses as 127.0.0.1.5432."""
    asked = subprocess.run(["netstat", "-an", "-p", "tcp"], capture_output=True, text=True, check=False)
    rows = (line.split() for line in asked.stdout.splitlines())
    return any(
        len(row) > 5 and row[5] in ("ESTABLISHED", "TIME_WAIT") and f".{port}" in (row[3][-6:], row[4][-6:])  # noqa: PLR2004 - the columns of netstat(1)
        for row in rows
    )


def now() -> float:
    """Return a clock that nobody sets; it goes on while the machine sleeps where there is such a one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
