#!/bin/sh
# Prolog: a job that was requeued finds its files again (`hpc-agent prolog`). A job's first life, and a node without the
# agent, cost nothing. Always exits 0: another code drains the node.

[ "${SLURM_JOB_RESTART_COUNT:-}" != 0 ] || exit 0
agent=/opt/hpc-agent/current/bin/hpc-agent
[ -x "$agent" ] || exit 0
"$agent" prolog </dev/null || :
exit 0
