"""`python -m dev_postgres_mcp`: the same program as the console script."""

from dev_postgres_mcp.cli.main import main

if __name__ == "__main__":
    main()
