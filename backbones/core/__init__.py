"""What everything else stands on: errors, registry, settings, seeds, artifacts, launch."""
