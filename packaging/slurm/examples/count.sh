#!/bin/bash
#SBATCH --job-name=count --requeue --open-mode=append
# Counts to 1000, a step a second, and keeps the count where hpc-agent finds it. It knows nothing of the agent.
set -eu

mkdir -p "/scratch/$SLURM_JOB_ID"
cd "/scratch/$SLURM_JOB_ID"
count=$(cat count 2>/dev/null || echo 0)
echo "begin at $count on $(hostname), restore: ${HPC_AGENT_RESTORE:-first life}"
while [ "$count" -lt 1000 ]; do
  count=$((count + 1))
  # A new file that takes the old one's place: whenever it is stopped, one of the two is whole.
  echo "$count" >count.new
  mv count.new count
  sleep 1
done
echo "done: $count"
