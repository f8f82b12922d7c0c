"""The disks that are saved: mounted, and how full."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.doctor.finding import Finding, green, red, unknown, yellow
from agent.scratch.mount import NotMounted, require_mount

GIB: Final = 1 << 30
NEARLY_FULL: Final = 0.95
"""Jobs that find no space fail; what is written is saved all the same."""


def look_at_scratch(
    path: str, *, must_be_mounted: bool, space: Callable[[Path], os.statvfs_result] = os.statvfs
) -> Finding:
    """Look at one directory (blocking)."""
    name = f"scratch {path}"
    try:
        if must_be_mounted:
            require_mount(Path(path))
        seen = space(Path(path))
    except NotMounted as error:
        return yellow(name, f"{error.detail}: nothing of it would be saved", error.hint)
    except FileNotFoundError:
        return yellow(name, "there is no such directory: nothing of it would be saved", "correct scratch.paths")
    except PermissionError as error:
        return unknown(name, error.strerror or str(error), "run as root")
    except OSError as error:
        return red(name, error.strerror or str(error), "see dmesg: does the disk still work?")
    return _space(name, seen)


def _space(name: str, seen: os.statvfs_result) -> Finding:
    total, free = seen.f_blocks * seen.f_frsize, seen.f_bavail * seen.f_frsize
    used = (seen.f_blocks - seen.f_bfree) * seen.f_frsize
    said = f"{used / GIB:.1f} GiB used, {free / GIB:.1f} GiB free"
    if total and used >= NEARLY_FULL * total:
        return yellow(name, f"{said}: nearly full", "jobs fail when it is")
    return green(name, said)
