"""One run of the program: the options before the command, and what is built from them when it is needed."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import typer

    from dev_postgres_mcp.app import App
    from dev_postgres_mcp.settings import Loaded


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """The options that stand before the command."""

    arguments: Mapping[str, object] = field(default_factory=dict)
    config: Path | None = None
    env_file: Path | None = None
    apps: list[App] = field(default_factory=list)

    def load(self) -> Loaded:
        """Return the effective settings, and send logs where they say."""
        from dev_postgres_mcp.logs import configure_logs
        from dev_postgres_mcp.settings import load_settings

        loaded = load_settings(self.arguments, config=self.config, env_file=self.env_file)
        configure_logs(loaded.settings.log_level, loaded.settings.log_format)
        return loaded

    @contextmanager
    def app(self, program: str, *, session: str = "shell", serving: bool = False) -> Iterator[App]:
        """Yield the program, ready to call verbs; touches no engine by itself.

        When it is `serving`, instances end sooner without a client: nobody sees what an agent forgets.
        """
        from dev_postgres_mcp.app import build_app
        from dev_postgres_mcp.settings import ignore_libpq_environment

        ignore_libpq_environment()
        settings = self.load().settings
        if serving:
            settings = settings.model_copy(update={"idle_timeout": settings.mcp_idle_timeout})
        app = build_app(settings, session=session, program=program)
        self.apps.append(app)
        yield app

    def close(self) -> None:
        """Sweep if that is due, when all has been said, and let go of the engine."""
        for app in self.apps:
            app.sweep_if_due()
            app.close()


def invocation_of(context: typer.Context) -> Invocation:
    """Return the invocation of a command; a plain one while a shell completes words."""
    found = context.find_object(Invocation)
    return found if found is not None else Invocation()
