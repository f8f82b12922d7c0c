"""What can be wrong with Slurm: not there now, or it says no."""

from agent.errors import PermanentError, TransientError


class SlurmUnavailable(TransientError):
    """No usable answer: controller down, hung or unreachable, munge dead. What was asked may still happen later."""


class SlurmRefused(PermanentError):
    """Slurm answered, and said no."""


class SlurmMissing(PermanentError):
    """There is no Slurm on this machine, or the node's name in it can't be found."""
