"""What training anything on a backbone needs: corpora, the loop, tasks, and saving what came out."""
