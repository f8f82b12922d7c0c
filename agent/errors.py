"""The errors of the agent, split by what the caller can do about them.

Each is raised at the border, `from` the library's own error, and says what was tried (`op`), on what (`subject`),
what came back (`detail`) and what a person can do (`hint`).
"""

from typing import ClassVar


class AgentError(Exception):
    """Something the agent tried did not work."""

    exit_code: ClassVar[int] = 1

    def __init__(self, op: str, subject: str, detail: str, *, hint: str = "") -> None:
        super().__init__(op, subject, detail)
        self.op = op
        self.subject = subject
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        said = f"{self.op} {self.subject}: {self.detail}"
        return f"{said} ({self.hint})" if self.hint else said


class TransientError(AgentError):
    """Worth trying again until the deadline."""


class PermanentError(AgentError):
    """The same call would fail the same way again."""


class SettingsInvalid(PermanentError):
    """A setting is unknown, of the wrong type or out of range."""

    exit_code = 2


class NotFound(PermanentError):
    """What was asked for by name does not exist."""

    exit_code = 5


class IntegrityMismatch(PermanentError):
    """Stored bytes are not the bytes that were recorded."""

    exit_code = 6
