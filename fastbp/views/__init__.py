"""Inspection: summaries, drawings, plots, comparisons and numerical gradients, and explanations of gradients by the chain rule."""
