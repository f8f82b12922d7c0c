"""Which files a pass stores: all, or of a copy ahead those that are at rest, up to a number of bytes. Pure."""

from dataclasses import dataclass
from datetime import datetime

from agent.model.checkpoint import Entry


@dataclass(slots=True, kw_only=True)
class Choice:
    """`changed_before`: later changes are not stored, as their files may change again soon. `most_bytes`: of all files
    together, none is begun after that.

    A file that is not chosen is counted among those left, and an older row of it stands.
    """

    changed_before: datetime | None = None
    most_bytes: int | None = None

    def takes(self, entry: Entry) -> bool:
        """Return whether a file is to be stored, and count its bytes if it is."""
        stat = entry.stat
        if self.changed_before is not None:
            changed = max(stat.mtime_ns, stat.ctime_ns) / 1e9
            if changed >= self.changed_before.timestamp():
                return False
        if self.most_bytes is None:
            return True
        if self.most_bytes <= 0:
            return False
        self.most_bytes -= stat.size
        return True
