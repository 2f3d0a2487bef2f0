"""How often the interpreter looks for garbage: rarely in a command that soon ends, as usual in a server."""

from __future__ import annotations

import gc

_OBJECTS_TO_COLLECT = 100_000
_USUAL = gc.get_threshold()


def collect_rarely() -> None:
    """Loading makes nothing but objects that stay, and the usual threshold has them looked through again and again."""
    gc.set_threshold(_OBJECTS_TO_COLLECT)


def collect_as_usual() -> None:
    """Keep the memory of a process flat that lives for weeks."""
    gc.set_threshold(*_USUAL)
