"""How far a copy has come."""

from agent.value import value


@value
class Progress:
    """Counts since the copy began. The totals grow until `walked`. `bytes_sent` counts what went over the wire."""

    files_total: int = 0
    bytes_total: int = 0
    files_done: int = 0
    bytes_done: int = 0
    bytes_sent: int = 0
    walked: bool = False
    waiting: str = ""
    """What the copy waits for now ("S3 does not answer: ..."), empty while it goes on."""
