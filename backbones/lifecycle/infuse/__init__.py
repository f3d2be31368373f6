"""Infusing relational knowledge: pairs from patterns, side adapters, a small student (``kaid_style``)."""
