"""A root on the disk, opened once; every directory below it is reached from descriptor to descriptor.

Job users own what is below, and may swap any name for a link while the agent, which is root, looks: no path of more
than one name is ever given to the kernel. Blocking calls, safe to use from several threads.
"""

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EXDEV
from itertools import islice
from pathlib import Path

from agent.errors import PermanentError
from agent.scratch.mount import file_system_of
from agent.scratch.settled import SILENT

OPEN_FOLDERS = 64
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class RootMissing(PermanentError):
    """What should be saved is not there, or is not a directory."""


class Tree:
    """The directory `path`. Its descriptors are closed by `close`, or with the last reference to it."""

    def __init__(self, path: Path) -> None:
        self.path = os.fsencode(path)
        try:  # a link is followed here, and here only: the path is the operator's
            root = _open(self.path, _FOLDER & ~os.O_NOFOLLOW, None)
        except OSError as error:
            raise RootMissing("open", os.fsdecode(self.path), error.strerror or repr(error)) from error
        self.device = os.fstat(root).st_dev
        self.shows_writes = file_system_of(self.device) not in SILENT
        """Times tell of writes, after a while also of those through mmap."""
        self._root = root
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self._lock = threading.Lock()
        self.close = weakref.finalize(self, _close_all, root, self._held)

    @contextmanager
    def folder(self, path: bytes) -> Iterator[int]:
        """Lend a descriptor of the directory `path` (relative to the root, b"" for the root itself).

        Raises OSError: ENOENT, ENOTDIR (also where a link stands in the way), EXDEV where another file system begins.
        """
        if not path:
            yield self._root
            return
        with self._lock:
            held = self._reach(path)
            held.users += 1
        try:
            yield held.fd
        finally:
            with self._lock:
                held.users -= 1
                self._evict()

    def _reach(self, path: bytes) -> "_Held":
        """Return the directory, opened from its nearest ancestor that is open. The caller holds the lock."""
        missing: list[bytes] = []
        ancestor = path
        while ancestor and ancestor not in self._held:
            ancestor, _, name = ancestor.rpartition(b"/")
            missing.append(name)
        held = self._held.get(ancestor)
        if held:
            self._held.move_to_end(ancestor)
        for name in reversed(missing):
            parent = held.fd if held else self._root
            held = _Held(self._enter(parent, name))
            ancestor = ancestor + b"/" + name if ancestor else name
            self._held[ancestor] = held
            self._evict(spare=ancestor)
        assert held is not None
        return held

    def _enter(self, parent: int, name: bytes) -> int:
        fd = _open(name, _FOLDER, parent)
        if os.fstat(fd).st_dev != self.device:
            os.close(fd)
            raise OSError(EXDEV, os.strerror(EXDEV))
        return fd

    def _evict(self, spare: bytes = b"") -> None:
        """Close what was used longest ago, down to the limit; what is lent stays."""
        surplus = len(self._held) - OPEN_FOLDERS
        if surplus <= 0:
            return
        idle = (path for path, held in self._held.items() if not held.users and path != spare)
        for path in tuple(islice(idle, surplus)):
            os.close(self._held.pop(path).fd)


class _Held:
    __slots__ = ("fd", "users")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.users = 0


def open_file(name: bytes, folder: int) -> int:
    """Open a name of a directory for reading; never waits (a FIFO), never follows a link, leaves atime alone.

    Raises OSError. What was opened may still be anything: the caller looks.
    """
    return _open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, folder)


def _open(name: bytes, flags: int, folder: int | None) -> int:
    try:
        return os.open(name, flags | os.O_NOATIME, dir_fd=folder)
    except PermissionError:
        return os.open(name, flags, dir_fd=folder)


def _close_all(root: int, held: "OrderedDict[bytes, _Held]") -> None:
    os.close(root)
    while held:
        os.close(held.popitem()[1].fd)
