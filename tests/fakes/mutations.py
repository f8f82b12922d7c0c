"""What jobs do to a scratch, as values that hypothesis can draw and shrink."""

import os
import random
import shutil
from contextlib import suppress
from dataclasses import dataclass

from hypothesis import strategies as st

NAMES = (b"a", b"b", b"a-b", b"c", b"d.x", b"\xff\n", b"n" * 120)
SIZES = (0, 1, 700, 1000, 4096, 5000, 40_000)
"""Around what the tests take for a pack and for a part."""
CROWD = 12


@dataclass(frozen=True, slots=True)
class Act:
    """Something done to a tree; nothing where it does not apply. `number` says how much, or which bytes."""

    what: str
    path: bytes
    other: bytes
    number: int

    def on(self, root: bytes) -> None:
        with suppress(OSError):
            _ACTS[self.what](root + b"/" + self.path, root + b"/" + self.other, self.number)


def _opened(path, mode):
    # Of a FIFO this is an error; it waits for nobody.
    return open(path, mode, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))


def _write(path, _, number):
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - bytes
    with _opened(path, "wb") as file:
        file.write(random.Random(number).randbytes(SIZES[number % len(SIZES)]))


def _rewrite(path, _, number):
    """Other bytes, the same size."""
    with _opened(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        os.pwrite(file.fileno(), random.Random(number).randbytes(min(size, 3000)), 0)


def _append(path, _, number):
    with _opened(path, "ab") as file:
        file.write(bytes([number % 256]) * 900)


def _holes(path, _, number):
    chance = random.Random(number)
    with _opened(path, "wb") as file:
        file.truncate(chance.randrange(80_000))
        for _ in range(chance.randrange(4)):
            os.pwrite(file.fileno(), chance.randbytes(chance.randrange(9000)), chance.randrange(79_000))


def _crowd(path, _, number):
    os.makedirs(path, exist_ok=True)  # noqa: PTH103 - bytes
    for name in range(number % 3, CROWD):
        with _opened(b"%b/%d" % (path, name), "wb") as file:
            file.write(b"%d" % number)


def _remove(path, *_):
    if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114 - bytes
        shutil.rmtree(path)
    else:
        os.unlink(path)  # noqa: PTH108 - bytes


def _turn(path, other, number):
    """A file in the place of a directory, or a directory with something in it in the place of a file."""
    was_directory = os.path.isdir(path)  # noqa: PTH112 - bytes
    _remove(path)
    _write(path if was_directory else path + b"/a", other, number)


def _times(path, _, number):
    os.utime(path, ns=(0, random.Random(number).randrange(-(2**60), 2**60)), follow_symlinks=False)


_ACTS = {
    "write": _write,
    "rewrite": _rewrite,
    "append": _append,
    "holes": _holes,
    "truncate": lambda path, _, number: os.truncate(path, SIZES[number % len(SIZES)]),
    "mkdir": lambda path, *_: os.makedirs(path),  # noqa: PTH103 - bytes
    "crowd": _crowd,
    "remove": _remove,
    "turn": _turn,
    "link": lambda path, other, _: os.link(path, other, follow_symlinks=False),
    "symlink": lambda path, other, _: os.symlink(other, path),  # noqa: PTH211 - bytes
    "rename": lambda path, other, _: os.rename(path, other),  # noqa: PTH104 - bytes
    "fifo": lambda path, *_: os.mkfifo(path),
    "chmod": lambda path, _, number: os.chmod(path, number % 0o10000),  # noqa: PTH101 - bytes
    "chown": lambda path, _, number: os.chown(path, number, number // 2, follow_symlinks=False),
    "mark": lambda path, _, number: os.setxattr(path, "user.note", b"%d" % number),
    "unmark": lambda path, *_: os.removexattr(path, "user.note"),
    "times": _times,
}

_paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map(b"/".join)
acts = st.builds(Act, st.sampled_from(sorted(_ACTS)), _paths, _paths, st.integers(0, 70_000))
