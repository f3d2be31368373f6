"""Tuning a model whose owner does not hand it over: emulator, adapter, plug-in (Xiao et al. 2023, arXiv 2302.04870)."""
