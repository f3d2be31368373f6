"""Backbones in fewer bytes: weights on a grid, weights pruned, the file that holds them, and what it costs."""
