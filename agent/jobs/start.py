"""A job that starts on this node, as Slurm tells its Prolog and Epilog in their environment (prolog_epilog guide)."""

import re
from collections.abc import Mapping
from typing import Self

from agent.value import value


@value
class JobStart:
    """`id` is Slurm's own number, also of an array's task; `life` is None when this Slurm does not tell."""

    id: int
    uid: int
    node: str
    node_list: str
    life: int | None
    comment: str = ""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """Read what Slurm says. Raises ValueError where that is no job."""
        return cls(
            id=_number(environ, "SLURM_JOB_ID"),
            uid=_number(environ, "SLURM_JOB_UID"),
            node=environ.get("SLURMD_NODENAME", ""),
            node_list=environ.get("SLURM_JOB_NODELIST") or environ.get("SLURM_NODELIST", ""),
            life=_number(environ, "SLURM_JOB_RESTART_COUNT") if "SLURM_JOB_RESTART_COUNT" in environ else None,
            comment=environ.get("SLURM_JOB_COMMENT", ""),
        )


def _number(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name, "")
    if not re.fullmatch(r"\d{1,10}", value, re.ASCII):
        raise ValueError(f"{name} is {value!r:.40}")
    return int(value)
