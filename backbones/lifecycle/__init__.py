"""The life of a backbone: pre-train, distil, compress, export, tune off-site, infuse knowledge."""
