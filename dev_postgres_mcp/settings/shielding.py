"""Where we are a library the environment is the user's: it stays, and libpq does not see what it may not.

Nearly every variable of libpq has an option that stands for it in a connection string, and what is given there
wins.  These few have none: a service that cannot be found, or a time zone that the server does not know, fails a
login whatever else is said.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HIDDEN = ("PGSERVICE", "PGTZ", "PGDATESTYLE", "PGGEQO")
_lock = threading.Lock()
_hiding = 0
"""How many threads want it just now; the variables are the process's, so their hiding is, too."""


@contextmanager
def hide_from_libpq() -> Iterator[None]:
    """Take what no option overrides out of what C code sees; `os.environ` says what it always said.

    A child that is started meanwhile with the environment of Python gets the variables as ever.
    """
    global _hiding  # noqa: PLW0603 - as said above
    with _lock:
        _hiding += 1
        for name in HIDDEN:
            os.unsetenv(name)
    try:
        yield
    finally:
        with _lock:
            _hiding -= 1
            for name in HIDDEN if not _hiding else ():
                if (value := os.environ.get(name)) is not None:
                    os.putenv(name, value)
