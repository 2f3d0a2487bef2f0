"""The MCP face: the one door to `mcp`.  Parses arguments, calls a verb on a worker thread, renders its view."""

from dev_postgres_mcp.server.session import Session
from dev_postgres_mcp.server.stdio import serve_stdio
from dev_postgres_mcp.server.tools import build_server
from dev_postgres_mcp.server.workers import Workers

__all__ = ["Session", "Workers", "build_server", "serve_stdio"]
