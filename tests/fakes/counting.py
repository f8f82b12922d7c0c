"""A job that writes to /scratch and knows nothing of the agent, and what it has said of each of its lives.

What it has written it says on the shared disk, which outlives its nodes: what comes back is held against that.
"""

import re
from dataclasses import dataclass
from pathlib import Path

SCRIPT = r"""#!/bin/bash
# Each rank appends a line to a file of its own for every step; after LIVES lives (1) the next does 10 more and is done.
rank=${SLURM_PROCID:-0} home=/scratch/$SLURM_JOB_ID
say() { echo "$*" >>"/shared/home/$SLURM_JOB_ID.$rank.said"; }
mkdir -p "$home" && cd "$home" || exit 1
[ -e sum ] || { head -c "${BALLAST:-2000000}" /dev/urandom >ballast; sha256sum ballast >sum; sync ballast sum; }
from=$(cat steps 2>/dev/null | wc -l) step=0
say "life ${SLURM_RESTART_COUNT:-0} on $(hostname) restore ${HPC_AGENT_RESTORE:-unset} from $from" \
  "by $(cut -d ' ' -f 1 steps 2>/dev/null | sort -u | tr '\n' ' ')"
for ((step = from + 1; ; step++)); do
  echo "$rank $step" >>steps
  say "step $step"
  [ "${SLURM_RESTART_COUNT:-0}" -lt "${LIVES:-1}" ] || [ "$step" -lt $((from + 10)) ] || break
  sleep 0.1
done
sha256sum --status -c sum && [ "$(awk -v r="$rank" '$1 != r || $2 != NR' steps | wc -l)" = 0 ] || exit 7
say "right after $step"
"""

SCRIPT_NAME = "steps.sh"
RANKS = f"srun --ntasks-per-node=1 bash /shared/home/{SCRIPT_NAME}"
"""What runs the script once on each node of a job."""

_LIFE = re.compile(r"life (\d+) on (\S+) restore (\S+) from (\d+) by ((?:\d+ )*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One life of one rank. `began_from` are the steps that it found, by the ranks `of`; `did` the last it said."""

    number: int
    node: str
    restore: str
    began_from: int
    of: tuple[str, ...]
    did: int
    is_right: bool


def lives(home: Path, job: str, rank: int = 0) -> list[Life]:
    """Return what one rank of the job has said so far."""
    path = home / f"{job}.{rank}.said"
    found: list[Life] = []
    for text in re.split(r"^(?=life )", path.read_text() if path.exists() else "", flags=re.MULTILINE)[1:]:
        if (match := _LIFE.match(text)) is None:
            continue
        steps = re.findall(r"^step (\d+)$", text, re.MULTILINE)
        found.append(
            Life(
                number=int(match[1]),
                node=match[2],
                restore=match[3],
                began_from=int(match[4]),
                of=tuple(match[5].split()),
                did=int(steps[-1]) if steps else int(match[4]),
                is_right="right after" in text,
            )
        )
    return found


def lost(found: list[Life]) -> int:
    """Return how many steps the second life did not find again: 0 when it went on from where the first was stopped."""
    first, second = found
    return first.did - min(first.did, second.began_from)


def went_on(found: list[Life]) -> bool:
    """Tell whether the second life went on where the first was stopped, at most one unsaid step later, to the end."""
    return len(found) == 2 and found[1].is_right and found[1].began_from - found[0].did in {0, 1}
