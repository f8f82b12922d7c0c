"""What commands print: results on stdout, as text or as one JSON document; everything else on stderr."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from agent.printable import printable


def say(text: str) -> None:
    """Print lines of a result."""
    sys.stdout.write(printable(text) + "\n")


def document(value: Mapping[str, Any]) -> None:
    """Print one JSON document. Every document has a `schema` number."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def note(text: str) -> None:
    """Tell the person at the terminal something that is no result."""
    sys.stderr.write(f"hpc-agent: {' '.join(printable(text).split())}\n")


def size(count: float) -> str:
    """Return bytes for people: "312 B", "1.5 GiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def unwalked(seen: int) -> str:
    """Return what a checkpoint lacks of which the walk had met so many files when its time was over."""
    return f"the walk did not finish: {seen:,} files seen so far"


def span(seconds: float) -> str:
    """Return seconds for people: "42 s", "1 min 33 s", "3 h 5 min", "2 d 4 h"."""
    whole = max(0, int(seconds))
    for length, unit, lower_length, lower in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // lower_length} {lower}"
    return f"{whole} s"
