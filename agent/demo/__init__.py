"""What `hpc-agent demo` needs to show the whole story on one machine: IMDS, S3, Slurm nodes."""
