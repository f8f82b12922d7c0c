"""When the times of a file can be believed.

A program that writes through mmap changes mtime and ctime when it first touches a page, and not again until the kernel
has written that page to the disk: usually some 30 s later, on a busy disk much later. Until then a file can change and
look as it was. So before a file that looks as if it were at rest is read, its pages are written: the next write to any
of them shows in its times.
"""

import ctypes
import os
from datetime import datetime
from errno import EINVAL, ENOSYS, ESPIPE

from agent.model.checkpoint import Stat

QUIET_SECONDS = 60
"""Twice the time after which Linux writes dirty pages (vm.dirty_expire_centisecs, 30 s)."""

SILENT = {"tmpfs", "ramfs"}
"""File systems that have no disk to write to, and so never show that a mapped page changed."""


_ALL = 1 | 2 | 4
"""SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE, _WAIT_AFTER."""
_CAN_NOT = {ENOSYS, EINVAL, ESPIPE}

_sync_file_range = ctypes.CDLL(None, use_errno=True).sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def write_back(fd: int) -> None:
    """Have the kernel write the dirty pages of a file, and take note of the next write to each. Raises OSError.

    No fdatasync: nothing has to outlive the machine, and that flushes the disk even for a clean file (measured on ext4:
    340 us, this 5).
    """
    if _sync_file_range(fd, 0, 0, _ALL):
        if (error := ctypes.get_errno()) not in _CAN_NOT:
            raise OSError(error, os.strerror(error))
        os.fdatasync(fd)


def is_settled(stat: Stat, now: datetime) -> bool:
    """Return whether an equal stat later on will mean that the file is the same."""
    return now.timestamp() - max(stat.mtime_ns, stat.ctime_ns) / 1e9 >= QUIET_SECONDS
