"""What lstat says of the names of a directory, as the kernel wrote it down: columns of numbers, one record for a name.

A million unchanged files have to be told from changed ones within seconds. `os.stat` makes twenty objects of each file,
of which nobody looks at one unless something differs: statx(2) with a buffer for all costs half of that, and columns
of it can be compared at once.
"""

import ctypes
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from stat import S_ISDIR
from typing import Final, Literal

SLICE: Final = 1000
"""Names that are looked at in one go."""

Row = tuple[int, int, int, int, int, int, int]
"""What has to be equal for a name to count as unchanged: mode with its type, uid, gid, size, mtime, ctime, inode."""

_Column = tuple[int, Literal["H", "I", "Q", "q"]]
"""Where a number is in a record of statx(2), and its format: the same on all machines."""

_RECORD: Final = 256
_MODE: Final[_Column] = (28, "H")
_UID: Final[_Column] = (20, "I")
_GID: Final[_Column] = (24, "I")
_SIZE: Final[_Column] = (40, "Q")
_MTIME: Final[tuple[_Column, _Column]] = ((112, "q"), (120, "I"))
_CTIME: Final[tuple[_Column, _Column]] = ((96, "q"), (104, "I"))
_INODE: Final[_Column] = (32, "Q")
_LINKS: Final[_Column] = (16, "I")
_DEVICE: Final[_Column] = (136, "Q")
_COMPARED: Final = (_MODE, _UID, _GID, _SIZE, *_MTIME, *_CTIME, _INODE)

_HOW: Final = 0x100 | 0x800
"""AT_SYMLINK_NOFOLLOW, AT_NO_AUTOMOUNT: as lstat(2)."""
_WHAT: Final = 0x7FF
"""STATX_BASIC_STATS."""
_SECOND: Final = 10**9
_MAJOR: Final = 2**32 - 1

# Of glibc 2.28; without `argtypes`, which take half a microsecond. To keep errno takes a tenth of one.
_statx = ctypes.CDLL(None).statx
_statx_with_errno = ctypes.CDLL(None, use_errno=True).statx


class Looks:
    """Records of names, in their order."""

    def __init__(self, records: bytes = b"") -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records) // _RECORD

    def __add__(self, other: "Looks") -> "Looks":
        return Looks(self._records + other._records)

    def __getitem__(self, some: slice) -> "Looks":
        first, last, _ = some.indices(len(self))
        return Looks(self._records[first * _RECORD : last * _RECORD])

    def some(self, numbers: Sequence[int]) -> "Looks":
        """Return only those with these numbers."""
        return Looks(b"".join(self._records[number * _RECORD : (number + 1) * _RECORD] for number in numbers))

    @property
    def modes(self) -> Sequence[int]:
        return self._column(_MODE)

    @property
    def devices(self) -> Sequence[int]:
        """The devices that they are on, each as `device_number` returns it."""
        return self._column(_DEVICE)

    def are_files_on(self, device: int) -> bool:
        """Return whether none is a directory and all are on `device`, a `device_number`."""
        kinds = set(self._records[_MODE[0] + 1 :: _RECORD])  # few, however many names
        is_folder = any(S_ISDIR(kind << 8) for kind in kinds)
        return not is_folder and self._column(_DEVICE).tobytes() == device.to_bytes(8, "little") * len(self)

    def compared(self) -> bytes:
        """Return the columns that have to be equal for all names to count as unchanged."""
        return b"".join(self._column(column).tobytes() for column in _COMPARED)

    def stats(self) -> Iterator[os.stat_result]:
        """Yield them as `os.lstat` returns them, but for atime, which is 0."""
        columns = map(self._column, (_MODE, _INODE, _DEVICE, _LINKS, _UID, _GID, _SIZE, *_MTIME, *_CTIME))
        for mode, inode, number, links, uid, gid, size, mtime, mtime_ns, ctime, ctime_ns in zip(*columns, strict=True):
            device = os.makedev(number & _MAJOR, number >> _MAJOR.bit_length())
            times = {"st_mtime_ns": mtime * _SECOND + mtime_ns, "st_ctime_ns": ctime * _SECOND + ctime_ns}
            yield os.stat_result((mode, inode, device, links, uid, gid, size, 0, mtime, ctime), times)

    def _column(self, column: _Column) -> memoryview:
        offset, kind = column
        numbers = memoryview(self._records).cast("B").cast(kind)
        return numbers[offset // numbers.itemsize :: _RECORD // numbers.itemsize]


class Looking:
    """Asks the kernel about names, up to SLICE at once. One thread at a time; blocking."""

    def __init__(self) -> None:
        self._buffer = ctypes.create_string_buffer(SLICE * _RECORD)
        self._places = [ctypes.byref(self._buffer, number * _RECORD) for number in range(SLICE)]

    def look(self, folder: int, names: Sequence[bytes]) -> Looks:
        """Return what there is to say of names in an open directory. Raises OSError when that fails for one."""
        if any(self._answers(_statx, folder, names)) and any(self._answers(_statx_with_errno, folder, names)):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        return Looks(ctypes.string_at(self._buffer, len(names) * _RECORD))

    def _answers(self, statx: Callable[..., int], folder: int, names: Sequence[bytes]) -> Iterator[int]:
        return map(statx, repeat(folder), names, repeat(_HOW), repeat(_WHAT), self._places)


def device_number(device: int) -> int:
    """Return a device as it stands in a record: two numbers, the machines that we run on being little-endian."""
    return os.major(device) | os.minor(device) << _MAJOR.bit_length()


def compared(rows: Sequence[Row]) -> bytes:
    """Return what `Looks.compared` returns of files of which this is known."""
    modes, uids, gids, sizes, mtimes, ctimes, inodes = zip(*rows, strict=True) if rows else ((),) * 7
    mtime, mtime_ns = _split(mtimes)
    ctime, ctime_ns = _split(ctimes)
    values = (modes, uids, gids, sizes, mtime, mtime_ns, ctime, ctime_ns, inodes)
    return b"".join(array(kind, numbers).tobytes() for (_, kind), numbers in zip(_COMPARED, values, strict=True))


def _split(times: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """Return seconds and nanoseconds, as the kernel keeps them."""
    return [time // _SECOND for time in times], [time % _SECOND for time in times]
