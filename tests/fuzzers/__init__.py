"""Fuzzers, one file each: a callable that makes one case from a random number generator and looks at what happens."""
