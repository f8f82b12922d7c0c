"""Patterns of the settings (`scratch.exclude`, `scratch.priority`): those of `fnmatch` on the path relative to a root.

`*` matches `/` too, and what is below a directory that matches is meant with it. Pure.
"""

import fnmatch
import os
import re
from collections.abc import Callable, Sequence
from typing import Final

_WILD: Final = re.compile(rb"[*?[]")


def matcher(patterns: Sequence[str]) -> Callable[[bytes], object] | None:
    """Return what tells whether one of the patterns matches just this path; None when there are none."""
    if not patterns:
        return None
    return re.compile(b"|".join(map(_translated, patterns)), re.DOTALL).match


class Ranks:
    """The order of files that patterns give: the first pattern that matches a file, or a directory it is in, counts."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self.last = len(patterns)
        """The rank of files that no pattern matches."""
        either = (b"((?:%s)|(?:%s))" % (_translated(one), _translated(one.rstrip("/") + "/*")) for one in patterns)
        self._match = re.compile(b"|".join(either), re.DOTALL).match
        self._prefixes = [_literal(pattern) for pattern in patterns]

    def of(self, path: bytes) -> int:
        """Return the rank of the file at `path`, relative to its root: 0 is first."""
        found = self._match(path) if self.last else None
        return self.last if found is None or found.lastindex is None else found.lastindex - 1

    def reach(self, directory: bytes) -> bool:
        """Return whether what a pattern matches may be in a directory or below it."""
        below = directory + b"/" if directory else b""
        return any(prefix.startswith(below) or below.startswith(prefix) for prefix in self._prefixes)


def _translated(pattern: str) -> bytes:
    return os.fsencode(fnmatch.translate(pattern.strip("/")))


def _literal(pattern: str) -> bytes:
    """Return how every path begins that a pattern matches."""
    return _WILD.split(os.fsencode(pattern.strip("/")), 1)[0]
