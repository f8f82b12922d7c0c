"""Whether something is mounted where the scratch disk should be; else the root disk would be saved in its place."""

import os
import re
from pathlib import Path

from agent.errors import PermanentError

MOUNTS = Path("/proc/self/mountinfo")


class NotMounted(PermanentError):
    """Nothing is mounted there, and something should be."""


def require_mount(path: Path) -> None:
    """Return when `path` is where a file system is mounted; else raise NotMounted."""
    if not is_mount(path):
        raise NotMounted(
            "check mount of",
            str(path),
            "nothing is mounted there" if path.is_dir() else "there is no such directory",
            hint="mount the disk, correct scratch.paths, or set scratch.require_mount = false",
        )


def is_mount(path: Path) -> bool:
    """Return whether a file system is mounted at `path` (links followed), a bind mount included."""
    real = os.path.realpath(os.fsencode(path))
    try:
        here, above = os.stat(real), os.stat(os.path.dirname(real))  # noqa: PTH116, PTH120 - names may be any bytes
    except OSError:
        return False
    return here.st_dev != above.st_dev or here.st_ino == above.st_ino or real in _mounts()


def file_system_of(device: int) -> str:
    """Return the type of the file system with this st_dev, empty when the kernel does not say."""
    number = f"{os.major(device)}:{os.minor(device)}".encode()
    for line in _mount_lines():
        if line.split()[2] == number:
            return line.partition(b" - ")[2].split()[0].decode("ascii", "replace")
    return ""


def _mounts() -> set[bytes]:
    r"""Return where file systems are mounted; a blank in a name is written as \040 there."""
    return {_unescaped(line.split()[4]) for line in _mount_lines()}


def _mount_lines() -> list[bytes]:
    """Return the lines of mountinfo (proc(5)): third is the device, the fifth the path, after " - " the type."""
    try:
        return MOUNTS.read_bytes().splitlines()
    except OSError:
        return []


def _unescaped(field: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), field)
