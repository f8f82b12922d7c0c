#!/bin/sh
# TaskProlog (runs as the job's user): tells a requeued job what became of its files. Slurm reads `export` lines from what
# a TaskProlog prints; if you have one already, have it run this file.

result=
if [ -r "/run/hpc-agent/restore/${SLURM_JOB_ID:-none}" ]; then
  read -r result <"/run/hpc-agent/restore/$SLURM_JOB_ID" || :
fi
case $result in
  complete | older | partial | none) echo "export HPC_AGENT_RESTORE=$result" ;;
esac
exit 0
