"""Studies: commands that write the pages of results; they stand on top of everything else."""
