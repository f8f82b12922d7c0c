"""How far the operator lets the agent go."""

from enum import StrEnum


class Mode(StrEnum):
    """ACT: everything. SAVE_ONLY: everything but Slurm. OBSERVE: nothing, but say what would have been done."""

    ACT = "act"
    SAVE_ONLY = "save-only"
    OBSERVE = "observe"
