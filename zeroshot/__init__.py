"""Zero-shot event arguments; not built yet: only the name is reserved."""
