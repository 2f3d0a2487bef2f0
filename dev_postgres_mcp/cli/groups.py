"""Groups of commands.  Each is a module of its own, and is loaded when one of its commands is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

if TYPE_CHECKING:
    from collections.abc import Callable

    Loader = Callable[[], typer.Typer]


def make_group() -> typer.Typer:
    """Return a group to hang commands on; its parent gives it name and help."""
    return typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def hang_later(parent: typer.Typer, name: str) -> Callable[[Loader], Loader]:
    """Hang a stand-in on `parent` for the group that the decorated function loads; its docstring is the help."""

    def hang(load: Loader) -> Loader:
        class StandIn(TyperGroup):
            """Enough for the help of its parent; a command line that gets as far as its name gets the group."""

            def make_context(self, *given: Any, **more: Any) -> Any:  # noqa: ANN401 - Typer's Click is private
                group = get_group(load())
                group.name, group.help = self.name, self.help
                return group.make_context(*given, **more)

        parent.add_typer(typer.Typer(cls=StandIn), name=name, help=load.__doc__)
        return load

    return hang
