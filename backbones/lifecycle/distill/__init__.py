"""Distillation of a transformer into a smaller one, layer by layer and then by its answers (TinyBERT)."""
