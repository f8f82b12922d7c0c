"""Trees of files as people leave them on a scratch, and what a tree looks like, to compare two of them."""

import hashlib
import os
import random
import stat
from pathlib import Path

ALICE = 4242
OLD = 1_700_000_000_123_456_789
"""A time in nanoseconds that no file system rounds to by accident."""


def plant(top: Path, *, files: int = 40, size: int = 200_000, seed: int = 1) -> None:
    """Fill `top` (made if missing): `files` small files of together about a third of `size` bytes, two large ones for
    the rest, hard and soft links, names that are not UTF-8, empty directories, a FIFO. Owned by alice.
    """
    chance = random.Random(seed)
    top.mkdir(parents=True, exist_ok=True)
    _small(top, chance, files - 2, size // 3)
    for number in range(2):
        (top / f"large{number}.bin").write_bytes(chance.randbytes(size // 3))
    _odd(top)
    _give_away(top, chance)


def _small(top: Path, chance: random.Random, files: int, size: int) -> None:
    mean = max(1, size // max(1, files))
    for number in range(files):
        folder = top / f"run{number % 20:02}" / f"step {number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"out-{number}.dat").write_bytes(chance.randbytes(chance.randrange(2 * mean)))


def _odd(top: Path) -> None:
    """What makes tools stumble: each of these has its own way into a checkpoint."""
    odd = top / "odd"
    (odd / "empty" / "emptier").mkdir(parents=True)
    for name in (b"caf\xe9", b"\xff\xfe", b"new\nline", b" blank ", b"-rf"):
        (odd / os.fsdecode(name)).write_bytes(name)
    (odd / "nothing").touch()
    for name, target in (("soft", b"caf\xe9"), ("outside", b"/etc/shadow"), ("dangling", b"gone\xff")):
        (odd / name).symlink_to(os.fsdecode(target))
    (top / "hard").hardlink_to(odd / "-rf")
    os.mkfifo(odd / "pipe")


def _give_away(top: Path, chance: random.Random) -> None:
    """Set owner, mode and time of everything, the deepest first: a directory's time is that of its last change."""
    for path in sorted(top.rglob("*"), reverse=True):
        os.lchown(path, ALICE, ALICE)
        if not path.is_symlink():
            path.chmod(chance.choice((0o755, 0o2750) if path.is_dir() else (0o644, 0o600, 0o4711)))
        when = OLD + chance.randrange(10**15)
        os.utime(path, ns=(when, when), follow_symlinks=False)


def picture(top: Path) -> dict[str, tuple[object, ...]]:
    """Return what is below `top`, by path: kind, mode, owner, mtime (ns), extended attributes and content, target or
    first name of the same file. FIFOs, sockets and devices are left out: a restore does not make them.
    """
    first: dict[tuple[int, int], str] = {}
    looks = {str(path.relative_to(top)): _look(path, top, first) for path in sorted(top.rglob("*"))}
    return {name: seen for name, seen in looks.items() if seen is not None}


def _look(path: Path, top: Path, first: dict[tuple[int, int], str]) -> tuple[object, ...] | None:
    said = path.lstat()
    about = (stat.S_IMODE(said.st_mode), said.st_uid, said.st_gid, said.st_mtime_ns)
    match stat.S_IFMT(said.st_mode):
        case stat.S_IFLNK:
            return ("link", *about, str(path.readlink()))
        case stat.S_IFDIR:
            return ("directory", *about, _attributes(path))
        case stat.S_IFREG:
            same = first.setdefault((said.st_dev, said.st_ino), str(path.relative_to(top)))
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            return ("file", *about, _attributes(path), said.st_size, content, same)
    return None


def _attributes(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


def differences(one: dict[str, tuple[object, ...]], other: dict[str, tuple[object, ...]]) -> list[str]:
    """Return the first twenty differences of two pictures, each as a line for people."""
    lines = [f"only in the first: {path!r}" for path in sorted(one.keys() - other.keys())]
    lines += [f"only in the second: {path!r}" for path in sorted(other.keys() - one.keys())]
    both = sorted(one.keys() & other.keys())
    lines += [f"{path!r}: {one[path]} and {other[path]}" for path in both if one[path] != other[path]]
    return lines[:20]
