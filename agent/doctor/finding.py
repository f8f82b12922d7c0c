"""What one look at one thing found."""

from collections.abc import Iterable
from enum import StrEnum

from agent.value import value


class Level(StrEnum):
    """How bad it is. Unknown is its own answer: never a guess in either direction."""

    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"
    UNKNOWN = "unknown"


@value
class Finding:
    """`detail` says what was seen; `hint` what a person can do, with the IAM statement where one is missing."""

    name: str
    level: Level
    detail: str
    hint: str = ""


def green(name: str, detail: str) -> Finding:
    return Finding(name=name, level=Level.GREEN, detail=detail)


def yellow(name: str, detail: str, hint: str = "") -> Finding:
    return Finding(name=name, level=Level.YELLOW, detail=detail, hint=hint)


def red(name: str, detail: str, hint: str = "") -> Finding:
    return Finding(name=name, level=Level.RED, detail=detail, hint=hint)


def unknown(name: str, detail: str, hint: str = "") -> Finding:
    return Finding(name=name, level=Level.UNKNOWN, detail=detail, hint=hint)


def worst(findings: Iterable[Finding]) -> Level:
    """Return the level that counts: red, else yellow, else unknown, else green."""
    levels = {finding.level for finding in findings}
    return next((level for level in (Level.RED, Level.YELLOW, Level.UNKNOWN) if level in levels), Level.GREEN)
