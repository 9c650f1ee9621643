"""The computational graph: symbols, shapes and names, without numbers."""
