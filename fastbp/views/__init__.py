"""Looking at networks: summaries, drawings, plots, checks of gradients, and their explanations by the chain rule."""
