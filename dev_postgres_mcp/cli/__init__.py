"""The Typer face: data on stdout, talk on stderr, nothing heavy imported before it is needed."""
