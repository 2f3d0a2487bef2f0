"""The verbs on instances: create, list, get, drop, health_check."""

from dev_postgres_mcp.instances.creation import Policy
from dev_postgres_mcp.instances.manager import InstanceManager
from dev_postgres_mcp.instances.specs import Defaults, build_spec

__all__ = ["Defaults", "InstanceManager", "Policy", "build_spec"]
