#!/bin/sh
# TaskProlog (runs as the job's user): tells a requeued job what became of its files. Slurm reads `export` lines from what
# a TaskProlog prints; if you have one already, have it run this file.

result=
if [ -r "/run/hpc-agent/restore/${SLURM_JOB_ID:-none}" ]; then
  read -r result <"/run/hpc-agent/restore/$SLURM_JOB_ID" || :
fi
# Slurm may leave out the Prolog of a requeued job that comes back to a busy node: then nobody has brought its files back,
# and what lies there is of an earlier life, perhaps of another rank. Each Prolog of ours says which life it is of.
life=${SLURM_RESTART_COUNT:-0}
began=/run/hpc-agent/lives/${SLURM_JOB_ID:-none}
if [ "$life" != 0 ] && [ -d "${began%/*}" ]; then
  noted=
  [ ! -e "$began" ] || noted=$life # what we may not read is there, and counts for us
  [ ! -r "$began" ] || read -r noted _ <"$began" || :
  [ "$noted" = "$life" ] || result=none
fi
case $result in
  complete | older | partial | none) echo "export HPC_AGENT_RESTORE=$result" ;;
esac
exit 0
