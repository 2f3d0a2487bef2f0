"""How each MCP client wants to be told of a server: where the snippet goes, and what it looks like."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVER_NAME = "dev-postgres"


class Client(StrEnum):
    """The clients that we know."""

    CLAUDE_CODE = "claude-code"
    CLAUDE_DESKTOP = "claude-desktop"
    CURSOR = "cursor"
    VSCODE = "vscode"
    CODEX = "codex"
    GEMINI_CLI = "gemini-cli"
    AUGMENT = "augment"


@dataclass(frozen=True, kw_only=True)
class Snippet:
    """What to put where."""

    client: Client
    place: str
    text: str


_PLACES = {
    Client.CLAUDE_CODE: "run in a shell",
    Client.CLAUDE_DESKTOP: "claude_desktop_config.json (Settings > Developer > Edit Config)",
    Client.CURSOR: "~/.cursor/mcp.json, or .cursor/mcp.json of a project",
    Client.VSCODE: ".vscode/mcp.json of a project, or the user's mcp.json (MCP: Open User Configuration)",
    Client.CODEX: "~/.codex/config.toml",
    Client.GEMINI_CLI: "~/.gemini/settings.json, or .gemini/settings.json of a project",
    Client.AUGMENT: "Augment settings > MCP > Import from JSON",
}


def render_snippet(client: Client, command: Sequence[str]) -> Snippet:
    """Return the ready snippet that makes `client` start `command` over stdio."""
    return Snippet(client=client, place=_PLACES[client], text=_render(client, command))


def _render(client: Client, command: Sequence[str]) -> str:
    program, *arguments = command
    server: dict[str, object] = {"command": program, "args": arguments}
    match client:
        case Client.CLAUDE_CODE:
            return f"claude mcp add {SERVER_NAME} -- {shlex.join(command)}"
        case Client.CODEX:
            # JSON strings and arrays are TOML as well.
            return f"[mcp_servers.{SERVER_NAME}]\ncommand = {json.dumps(program)}\nargs = {json.dumps(arguments)}"
        case Client.VSCODE:
            return json.dumps({"servers": {SERVER_NAME: {"type": "stdio"} | server}}, indent=2)
        case _:
            return json.dumps({"mcpServers": {SERVER_NAME: server}}, indent=2)
