"""Slurm, as far as one node of it concerns us: who we are there, whose drain stands, drain and lift."""
