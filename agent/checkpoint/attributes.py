"""What makes a file the file it was, apart from its bytes: owner, mode, extended attributes, time; in this order.

A change of owner drops setuid and capabilities, a write sets the time: each step would undo the one before it in any
other order.
"""

import os
from collections.abc import Mapping
from typing import Final

from agent.model.checkpoint import Stat
from agent.scratch.attributes import path_in

_ACLS: Final = frozenset({"system.posix_acl_access", "system.posix_acl_default"})
_ANYBODYS_MODE = 0o1777


def apply(fd: int, stat: Stat, xattrs: Mapping[str, bytes], *, owner: bool) -> list[str]:
    """Give an open file or directory its attributes; return what could not be set, in words.

    Without `owner` it stays ours: then setuid and setgid are left out, and attributes that only root may set. Raises
    OSError when owner, mode or time can't be set.
    """
    if owner:
        os.fchown(fd, stat.uid, stat.gid)
    os.fchmod(fd, stat.mode if owner else stat.mode & _ANYBODYS_MODE)
    trouble = _apply_xattrs(fd, xattrs if owner else {name: xattrs[name] for name in xattrs if _is_anybodys(name)})
    os.utime(fd, ns=(stat.mtime_ns, stat.mtime_ns))
    return trouble


def apply_to_link(name: bytes, folder: int, stat: Stat, xattrs: Mapping[str, bytes], *, owner: bool) -> list[str]:
    """Give a symbolic link its attributes, as `apply` does. Only root may set those that a link can have."""
    trouble = []
    if owner:
        os.chown(name, stat.uid, stat.gid, dir_fd=folder, follow_symlinks=False)
        trouble = _set(path_in(folder, name), xattrs, follow=False)
    os.utime(name, ns=(stat.mtime_ns, stat.mtime_ns), dir_fd=folder, follow_symlinks=False)
    return trouble


def _is_anybodys(name: str) -> bool:
    return name.startswith("user.") or name in _ACLS


def _apply_xattrs(fd: int, xattrs: Mapping[str, bytes]) -> list[str]:
    for name in _inherited(fd, xattrs):
        os.removexattr(fd, name)
    return _set(fd, xattrs, follow=True)


def _set(subject: int | bytes, xattrs: Mapping[str, bytes], *, follow: bool) -> list[str]:
    trouble = []
    for name, value in xattrs.items():
        try:
            os.setxattr(subject, name, value, follow_symlinks=follow)
        except OSError as error:
            trouble.append(f"attribute {name} not set: {error.strerror}")
    return trouble


def _inherited(fd: int, xattrs: Mapping[str, bytes]) -> frozenset[str]:
    """Return the ACLs that the directory above left on a new file and that the saved one did not have."""
    try:
        names = os.listxattr(fd)
    except OSError:  # a file system without attributes
        return frozenset()
    return _ACLS.intersection(names).difference(xattrs) if names else frozenset()
