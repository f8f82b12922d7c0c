"""The exit codes of every command, a contract (`docs/interfaces.md`)."""

from enum import IntEnum


class Exit(IntEnum):
    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    INCOMPLETE = 4
    NOT_FOUND = 5
    MISMATCH = 6
    INTERRUPTED = 130
