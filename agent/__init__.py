"""hpc-agent: saves the work of Slurm nodes on AWS before the node is taken away."""

__version__ = "0.1.0"
