"""The guard: may this SQL run for a reader, and why not.  Judges text alone; reads nothing but its own catalogues."""
