"""The engine: what runs a graph. ``reference`` walks it with the NumPy ops, ``native`` compiles it into a plan in C."""
