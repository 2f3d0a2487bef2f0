"""The verbs on databases within an instance: build a template, clone it, drop the clones; judge SQL."""

from dev_postgres_mcp.databases.database import Database

__all__ = ["Database"]
