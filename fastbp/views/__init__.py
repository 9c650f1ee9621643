"""Inspection: summaries, drawings, plots, numerical gradients, comparisons, and explanations by the chain rule."""
