"""Frozen transformers and the small removable things that are put on them."""
