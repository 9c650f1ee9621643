"""Losses: what training minimises, each with its value and gradient in NumPy."""
