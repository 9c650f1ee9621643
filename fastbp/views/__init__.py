"""Inspection: summaries, drawings, plots, comparisons and numerical gradients."""
