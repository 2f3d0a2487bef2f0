"""A server as the switch sees one: it has a pid file, stops on INT, and ends as it is told.

fake_server.py serve|deaf|starting        until it is stopped; deaf to any stop; not yet able to hear one
fake_server.py exit CODE | die SIGNAL     when the file `go` appears beside its pid file
"""

import os
import signal
import sys
import time
from pathlib import Path

data = Path(os.environ["PGDATA"])
how, *what = sys.argv[1:]


def stop(number: int, frame: object) -> None:
    """Stop as PostgreSQL does."""
    with (data / "heard").open("a") as heard:
        heard.write(f"{signal.Signals(number).name}\n")
    (data / "postmaster.pid").unlink(missing_ok=True)
    sys.exit(0)


if how != "starting":
    reaction = signal.SIG_IGN if how == "deaf" else stop
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, reaction)
    (data / "postmaster.pid").write_text(f"{os.getpid()}\n{data}\n")
(data / "up").write_text(f"{os.getpid()}\n")

while how in {"serve", "deaf", "starting"} or not (data / "go").exists():
    time.sleep(0.002 if what else 60)
if how == "exit":
    sys.exit(int(what[0]))
number = getattr(signal, f"SIG{what[0]}")
if number != signal.SIGKILL:
    signal.signal(number, signal.SIG_DFL)
os.kill(os.getpid(), number)
