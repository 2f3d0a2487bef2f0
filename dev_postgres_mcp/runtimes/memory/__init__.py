"""An honest in-memory world: the runtime protocol and PostgreSQL's side of a login, without either.

It keeps every promise that tests/contract asks of a real runtime - one creator a port, one claimant a spare,
nothing left of a failed start, states readable by others - and lets tests bring about what is hard to bring
about for real: a slow start, a dead server, an engine that is down.  Several runtimes may share one world, as
several processes share one engine.
"""

from dev_postgres_mcp.runtimes.memory.runtime import MemoryRuntime
from dev_postgres_mcp.runtimes.memory.sql import MemorySql
from dev_postgres_mcp.runtimes.memory.world import MemoryWorld

__all__ = ["MemoryRuntime", "MemorySql", "MemoryWorld"]
