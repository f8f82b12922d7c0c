"""The findings as text for people and as a document for programs. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from agent.doctor.finding import Finding, Level, worst

SCHEMA: Final = 1
COLOURS: Final = {Level.GREEN: "32", Level.YELLOW: "33", Level.RED: "31", Level.UNKNOWN: "36"}
WIDEST: Final = max(map(len, Level))


def text(findings: Sequence[Finding], *, coloured: bool = False) -> str:
    """Return aligned lines, and the count of each level as the last one."""
    return "\n".join(_lines(findings, coloured=coloured))


def _lines(findings: Sequence[Finding], *, coloured: bool) -> Iterator[str]:
    width = max((len(finding.name) for finding in findings), default=0)
    for finding in findings:
        yield f"{_level(finding.level, coloured=coloured)}  {finding.name:<{width}}  {finding.detail}"
        if finding.hint:
            yield f"{'':{WIDEST + width + 4}}-> {finding.hint}"
    counts = Counter(finding.level for finding in findings)
    yield ", ".join(f"{counts[level]} {level}" for level in reversed(Level) if counts[level])


def _level(level: Level, *, coloured: bool) -> str:
    padded = f"{level:<{WIDEST}}"
    return f"\x1b[{COLOURS[level]}m{padded}\x1b[0m" if coloured else padded


def document(findings: Sequence[Finding], *, version: str, at: str, seconds: float) -> Mapping[str, Any]:
    """Return the document of docs/interfaces.md."""
    return {
        "schema": SCHEMA,
        "version": version,
        "at": at,
        "seconds": round(seconds, 1),
        "worst": worst(findings),
        "findings": [
            {"name": one.name, "level": one.level, "detail": one.detail, "hint": one.hint} for one in findings
        ],
    }
