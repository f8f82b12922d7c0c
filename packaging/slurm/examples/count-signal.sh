#!/bin/bash
#SBATCH --job-name=count-signal --requeue --open-mode=append
#SBATCH --comment=hpc-agent:signal=USR1,grace=20s
# The same for a program that keeps its state in memory: it asks for a signal, and writes the state when it comes. The trap is
# there before anything else: a shell that gets USR1 without one is dead, and its job failed.
set -eu

mkdir -p "/scratch/$SLURM_JOB_ID"
cd "/scratch/$SLURM_JOB_ID"
count=$(cat count 2>/dev/null || echo 0)
save() {
  echo "$count" >count.new
  mv count.new count
  echo "saved $count"
}
trap save USR1
echo "begin at $count on $(hostname), restore: ${HPC_AGENT_RESTORE:-first life}"
while [ "$count" -lt 1000 ]; do
  count=$((count + 1))
  # All processes of the job get the signal, and this one ends of it: that is no reason for the job to end.
  sleep 1 || :
done
echo "done: $count"
