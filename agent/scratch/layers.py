"""Layers of container images on the scratch: pulled again in no time, and not worth a second of a rescue."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path


def container_layers(roots: Sequence[Path], names: Sequence[str]) -> tuple[str, ...]:
    """Return those of `names` (relative to a root) that are data directories of a container engine.

    That is what root made: a job's own directory of the same name is never taken for one, in none of the roots. Links
    are not followed. Blocking.
    """
    return tuple(name for name in names if (places := _there(roots, name)) and all(map(_is_roots, places)))


def _there(roots: Sequence[Path], name: str) -> list[os.stat_result]:
    found = []
    for root in roots:
        try:
            found.append(os.lstat(root / name))
        except OSError:
            continue
    return found


def _is_roots(found: os.stat_result) -> bool:
    return stat.S_ISDIR(found.st_mode) and found.st_uid == 0


def bytes_on_disk(directories: Sequence[Path]) -> int:
    """Return what these directories and all below them take of their disk. Blocking; what can't be read counts 0."""
    total = 0
    for directory in directories:
        if not directory.is_dir() or directory.is_symlink():
            continue
        device = os.lstat(directory).st_dev
        for _, inner, files, fd in os.fwalk(directory, follow_symlinks=False):
            here = {name: found for name in (*inner, *files) if (found := _lstat(name, fd)) and found.st_dev == device}
            inner[:] = [name for name in inner if name in here]  # other file systems are somebody else's
            total += sum(512 * found.st_blocks for found in here.values())
    return total


def _lstat(name: str, fd: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError:
        return None
