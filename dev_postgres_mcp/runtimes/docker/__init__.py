"""Instances as containers of a Docker Engine (20.10 or newer, or podman's Docker API): the one door to `docker`."""

from dev_postgres_mcp.runtimes.docker.contexts import DockerEnvironment
from dev_postgres_mcp.runtimes.docker.runtime import DockerOptions, DockerRuntime

__all__ = ["DockerEnvironment", "DockerOptions", "DockerRuntime"]
