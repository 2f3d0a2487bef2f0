"""What we ask of the SDK beyond its defaults: strict arguments, plain error texts, compact results.

Errors are text only: some hosts reject or hide an error that carries structured content.
"""

from __future__ import annotations

import inspect
import json
import logging
from typing import TYPE_CHECKING, Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, TextContent, ToolAnnotations
from pydantic import ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

LOOKS = {
    "read_only_hint": True,
    "destructive_hint": False,
    "idempotent_hint": True,
    "open_world_hint": False,
}
"""A tool that changes nothing and reaches nothing but the engine."""


class StrictServer(MCPServer[None]):
    """An MCPServer whose errors tell the model what to do next and never repeat a value that was sent."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:  # noqa: ANN401
        """Call a tool; whatever goes wrong comes back as a text for the model."""
        try:
            result = await super().call_tool(name, arguments, context)
        except UnexpectedToolError:
            log.exception("%s crashed", name)
            return _refuse(f"{name} failed inside the server; the server's log on stderr has the details.")
        except ToolError as exc:
            if isinstance(exc.__cause__, ValidationError):
                return _refuse(f"{name}: {_explain(exc.__cause__)}")
            return _refuse(str(exc.__cause__ or exc))
        if isinstance(result, CallToolResult) and result.structured_content is not None:
            text = json.dumps(result.structured_content, separators=(",", ":"), ensure_ascii=False)
            return result.model_copy(update={"content": [TextContent(type="text", text=text)]})
        return result


def strict_tool(verb: Callable[..., Any], *, title: str, **hints: bool) -> Tool:
    """Return a tool that refuses unknown arguments, with both titles and all four hints set."""
    tool = Tool.from_function(
        verb, title=title, description=inspect.getdoc(verb), annotations=ToolAnnotations(title=title, **hints)
    )
    model = tool.fn_metadata.arg_model
    model.model_config["extra"] = "forbid"
    model.model_rebuild(force=True)
    tool.parameters = model.model_json_schema(by_alias=True)
    return tool


def _explain(exc: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
        for problem in exc.errors(include_input=False, include_url=False)
    )


def _refuse(text: str) -> CallToolResult:
    return CallToolResult(is_error=True, content=[TextContent(type="text", text=text)])
