"""Log lines: one line per event on stderr, with the priority in front where the journal reads it."""

import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

from agent.clock import stamp
from agent.printable import printable

# sd-daemon(3): "<3>" and so on at the start of a line is its priority.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))


class OneLine(logging.Formatter):
    """`<time> LEVEL logger: text`, or `<priority>logger: text` for the journal, which knows the time itself."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        said = printable(" | ".join(_said(self, record).splitlines()))
        if self._journal:
            priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
            return f"<{priority}>{record.name}: {said}"
        when = stamp(datetime.fromtimestamp(record.created, UTC))
        return f"{when} {record.levelname} {record.name}: {said}"


def setup(stream: TextIO = sys.stderr, environ: Mapping[str, str] = os.environ, *, level: int = logging.INFO) -> None:
    """Send all log records to `stream`, replacing what was set up before."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OneLine(journal=reaches_journal(stream, environ)))
    logging.basicConfig(handlers=[handler], level=level, force=True)


def reaches_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether `stream` is the one that systemd connected to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _said(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    said = record.getMessage()
    if record.exc_info:
        said += "\n" + formatter.formatException(record.exc_info)
    return said
