"""Instances as local PostgreSQL server processes, without a container engine."""
