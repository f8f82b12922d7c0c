"""Where something is in a checkpoint."""

from agent.value import value


@value
class Place:
    """A directory of the checkpoint: which root, and the path below it."""

    root: int
    path: bytes
