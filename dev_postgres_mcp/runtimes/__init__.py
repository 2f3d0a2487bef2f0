"""Where instances live: the protocol, and the runtimes that keep it."""
