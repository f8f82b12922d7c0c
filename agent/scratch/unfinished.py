"""Files that a restore is at, or was when it was cut: no part of a tree that is saved."""

import re
from bisect import bisect_left
from typing import Final

UNFINISHED: Final = b".hpc-agent-restore-"
"""What the name of such a file begins with."""
_AFTER: Final = UNFINISHED[:-1] + bytes([UNFINISHED[-1] + 1])
_NAME: Final = re.compile(re.escape(UNFINISHED) + rb"[0-9a-f]{8}-\d+(-[0-9a-f]{16})?")


def is_unfinished(name: bytes) -> bool:
    return name.startswith(UNFINISHED) and _NAME.fullmatch(name) is not None


def drop_unfinished(names: list[bytes]) -> None:
    """Take them out of the names of a directory, which are in the order of their bytes."""
    first = bisect_left(names, UNFINISHED)
    if first < len(names) and names[first] < _AFTER:
        last = bisect_left(names, _AFTER)
        names[first:last] = [name for name in names[first:last] if not is_unfinished(name)]
