"""The control process: it watches, decides, talks to Slurm and to people. It never copies."""
