"""When the times of a file can be believed.

A program that writes through mmap changes size, mtime and ctime when it first touches a page, and not again until the
kernel has written that page to the disk, some 30 s later. Within that time a file can change and look as it was.
"""

from datetime import datetime

from agent.model.checkpoint import Stat

QUIET_SECONDS = 60
"""Twice the time after which Linux writes dirty pages (vm.dirty_expire_centisecs, 30 s)."""

SILENT = {"tmpfs", "ramfs"}
"""File systems that have no disk to write to, and so never show that a mapped page changed."""


def is_settled(stat: Stat, now: datetime) -> bool:
    """Return whether an equal stat later on will mean that the file is the same."""
    return now.timestamp() - max(stat.mtime_ns, stat.ctime_ns) / 1e9 >= QUIET_SECONDS
