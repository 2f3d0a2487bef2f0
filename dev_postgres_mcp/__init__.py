"""A throwaway PostgreSQL for every agent, shell and test run."""

__version__ = "0.1.0"
