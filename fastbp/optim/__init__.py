"""Optimizers, learning-rate schedules and initializers: how parameters begin and how they move."""
