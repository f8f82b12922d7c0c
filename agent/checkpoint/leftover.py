"""Files that are not whole yet: their names tell which run made them and, of a large one, what it was to become.

A restore that is cut leaves some behind. The next one removes them, or goes on with a large one; those of a run that
is still alive are left alone. Blocking calls; names are relative to the descriptor of their directory.
"""

import itertools
import os
import socket
import stat
from contextlib import suppress
from typing import Final

from agent.checkpoint.place import Place
from agent.checksum import to_hex
from agent.model.checkpoint import Entry
from agent.scratch.unfinished import UNFINISHED, is_unfinished

MODE: Final = 0o600
_FLAGS: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Working:
    """The names that one run gives to what is not whole. Others see that it is alive until `close`.

    What they see is a socket in the abstract namespace of this node (unix(7)), which ends with the process at the
    latest: there is no file to be left, and whoever may restore may look.
    """

    def __init__(self, token: str) -> None:
        self._prefix = UNFINISHED + token.encode("ascii") + b"-"
        self._numbers = itertools.count(1)
        self._life = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with suppress(OSError):  # a run that is not seen may lose what it works at to another, and then reports it
            self._life.bind(_address(self._prefix))

    def close(self) -> None:
        self._life.close()

    def name(self) -> bytes:
        return self._prefix + b"%d" % next(self._numbers)

    def name_of(self, entry: Entry) -> bytes:
        """Return a name that tells what is to become of the file."""
        return self.name() + b"-" + _content(entry)


class Leftovers:
    """What runs that were cut have left below a target that belongs to `uid`, as far as it was entered."""

    def __init__(self, uid: int) -> None:
        self._uid = uid
        self._large: dict[Place, dict[bytes, bytes]] = {}

    def enter(self, place: Place, folder: int) -> None:
        """Remove what is of no use, and note what somebody may go on with. Raises OSError."""
        for name in map(os.fsencode, os.listdir(folder)):
            if is_unfinished(name) and _is_over(name):
                self._enter(place, folder, name)

    def take(self, place: Place, folder: int, entry: Entry, working: bytes) -> int | None:
        """Return the descriptor of what is there of a large file already, now named `working`; None without.

        Raises OSError. Users may have put anything there: only a file that a run with our rights has made will do, for
        what is written to it later must not go anywhere else (P8). Its bytes are still to be checked.
        """
        name = self._large.get(place, {}).pop(_content(entry), None)
        if name is None:
            return None
        try:
            os.rename(name, working, src_dir_fd=folder, dst_dir_fd=folder)
            fd = os.open(working, _FLAGS, dir_fd=folder)
        except OSError:  # another run was faster, or it is no file: one of our own will do
            _remove(folder, working)
            return None
        if self._is_ours(os.fstat(fd), entry):
            return fd
        os.close(fd)
        _remove(folder, working)
        return None

    def are_in(self, place: Place) -> bool:
        return bool(self._large.get(place))

    def remove(self, place: Place, folder: int) -> None:
        """Remove what nobody went on with. Raises OSError."""
        for name in self._large.pop(place, {}).values():
            _remove(folder, name)

    def _enter(self, place: Place, folder: int, name: bytes) -> None:
        found = _found(folder, name)
        if found is None or not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)):
            return
        useless: bytes | None = name
        for content in name[len(UNFINISHED) :].split(b"-")[2:3]:
            large = self._large.setdefault(place, {})
            useless, large[content] = large.get(content), name
        if useless is not None:
            _remove(folder, useless)

    def _is_ours(self, found: os.stat_result, entry: Entry) -> bool:
        is_plain = stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == MODE and found.st_nlink == 1
        return is_plain and found.st_uid == self._uid and found.st_size == entry.stat.size


def is_written(fd: int, offset: int, length: int) -> bool:
    """Return whether a file made with room for all of it, or with holes, was written to in all of a range.

    Room that was never written to is a hole to lseek(2), also after a crash. Somebody who reads it may make it look
    written on ext4 and XFS: what was written is to be checked.
    """
    with suppress(OSError):  # ENXIO: nothing is from here on
        return os.lseek(fd, offset, os.SEEK_DATA) == offset and os.lseek(fd, offset, os.SEEK_HOLE) >= offset + length
    return False


def is_untouched(fd: int) -> bool:
    """Return whether nothing was ever written to a file."""
    try:
        os.lseek(fd, 0, os.SEEK_DATA)
    except OSError:
        return True
    return False


def _content(entry: Entry) -> bytes:
    assert entry.ref is not None
    return to_hex(entry.ref.crc64nvme).encode("ascii")


def _is_over(name: bytes) -> bool:
    """Return whether the run that a working name is of is over; what can't be told is not."""
    token = name[len(UNFINISHED) :].split(b"-")[0]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(_address(UNFINISHED + token + b"-"))
        except OSError:
            return False
    return True


def _address(prefix: bytes) -> bytes:
    return b"\0" + prefix[1:-1]


def _found(folder: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _remove(folder: int, name: bytes) -> None:
    """Remove a name, unless it is a directory or not ours to remove. Raises OSError."""
    with suppress(FileNotFoundError, IsADirectoryError, PermissionError):
        os.unlink(name, dir_fd=folder)
