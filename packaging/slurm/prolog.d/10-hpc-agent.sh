#!/bin/sh
# Prolog: a job that was requeued finds its files again (`hpc-agent prolog`). A job's first life, and a node without the
# agent, cost nothing. Always exits 0: another code drains the node.

agent=/opt/hpc-agent/current/bin/hpc-agent
[ -x "$agent" ] || exit 0
life=${SLURM_JOB_RESTART_COUNT:-}
lives=/run/hpc-agent/lives
# Which life this is, and on which nodes, for the Epilog: while a job ends, Slurm shows the next life and fewer nodes.
if [ -n "$life" ] && [ -d /run/hpc-agent ]; then
  {
    [ -d "$lives" ] || mkdir -m 755 "$lives"
    echo "$life ${SLURM_JOB_NODELIST:-${SLURM_NODELIST:-}}" >"$lives/${SLURM_JOB_ID:-none}"
  } 2>/dev/null
fi
[ "$life" != 0 ] || exit 0
"$agent" prolog </dev/null || :
exit 0
