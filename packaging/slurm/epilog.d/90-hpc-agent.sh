#!/bin/sh
# Epilog: while this node is being left, a job's end waits until the job's files are saved (`hpc-agent epilog`). Slurm
# counts the node as COMPLETING for as long: it is not terminated, and the requeued job does not start elsewhere before.
# A job of several nodes that was requeued is asked about on all of them: one of the others may be the one that goes.
# On every other day, and on nodes without the agent, this costs nothing. Always exits 0: another code drains the node.

began=/run/hpc-agent/lives/${SLURM_JOB_ID:-none} # by our Prolog
wanted=
[ ! -e /run/hpc-agent/evacuating ] || wanted=yes
if [ -e "$began" ]; then
  read -r life nodes <"$began"
  case $nodes in
    *[,[]*) [ "${SLURM_JOB_RESTART_COUNT:-0}" -le "$life" ] || wanted=yes ;;
  esac
fi
agent=/opt/hpc-agent/current/bin/hpc-agent
[ -z "$wanted" ] || [ ! -x "$agent" ] || "$agent" epilog </dev/null || :
[ ! -e "$began" ] || rm -f "$began"
exit 0
