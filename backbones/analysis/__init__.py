"""What a frozen model knows: probes, minimal pairs, learning curves."""
