"""Data contracts, streams and data sets."""
