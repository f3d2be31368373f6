"""Speed, measured as ratios inside one process run."""
