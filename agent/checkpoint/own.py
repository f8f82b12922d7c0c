"""The part of a checkpoint that is one job's, and the directories it may be put in (P8).

The threads that write have the rights of the job's user (`rights`), so that a planted checkpoint can do no more than
the user could. What is left to decide here is what of the user's is the job's.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from errno import EACCES, ENOENT
from pathlib import Path
from stat import S_ISDIR, S_ISVTX
from typing import Final

from agent.checkpoint.place import Place
from agent.checkpoint.rights import Rights
from agent.checkpoint.target import Target
from agent.model.checkpoint import Directory, Entry, Stat
from agent.value import value

_ACLS: Final = frozenset({"system.posix_acl_access", "system.posix_acl_default"})
_PLAIN_MODE: Final = 0o1777
_GROUP_MODE: Final = 0o070
_OTHERS_WRITE: Final = 0o022
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@value
class OwnPath:
    """A path of the job; what its first `shared` parts name belongs to no job and is never made for one."""

    path: bytes
    shared: int

    @property
    def top(self) -> bytes:
        """The first directory on the way that is the job's or its user's."""
        return b"/".join(self.path.split(b"/")[: self.shared + 2])

    def holds(self, path: bytes) -> bool:
        return is_at_or_below(path, self.path)


class Own:
    """What is the job's: all of the user's files at or below `paths`; without `paths` all files of the user.

    `roots` are those of the head. `passed_over` counts what lies there and is another user's.
    """

    def __init__(self, rights: Rights, roots: Sequence[bytes], paths: Sequence[OwnPath]) -> None:
        self.rights = rights
        self.passed_over = 0
        self._roots = tuple(roots)
        self._paths = tuple(paths)
        self._at: Place | None = None

    def lines(self, lines: Iterator[Directory]) -> Iterator[Directory]:
        """Yield what is the job's, with rights that the user may have: no setuid, no setgid, no privileged attribute.

        A directory that is not the user's comes without `stat`: it is used where it is there, and left as it is.
        """
        for line in lines:
            place = Place(root=line.root, path=line.path)
            if self._paths and not any(own.holds(self.path_of(place)) for own in self._paths):
                continue
            is_own = line.stat is not None and line.stat.uid == self.rights.uid
            entries = tuple(map(self._entry, filter(self._is_users, line.entries)))
            if not is_own and not entries:
                continue
            if is_own:
                self._at = place
            stat = self._stat(line.stat) if line.stat is not None and is_own else None
            yield replace(line, stat=stat, xattrs=_plain(line.xattrs) if is_own else {}, entries=entries)

    def target(self, path: Path) -> "OwnTarget":
        """Return the directory `path` as one in which only what is the job's is made. Raises TargetUnusable."""
        return OwnTarget(path, self._roots, self)

    def may_make(self, place: Place) -> bool:
        """Tell whether a directory that is missing may be made for the job."""
        if not self._paths:
            return place == self._at
        return self.is_way(place)

    def is_way(self, place: Place) -> bool:
        """Tell whether a directory lies on the way to a path of the job, or below, and is not everybody's."""
        path = self.path_of(place)
        return any(
            is_at_or_below(path, own.top) and (own.holds(path) or own.path.startswith(path + b"/"))
            for own in self._paths
        )

    def tops(self, target: Target) -> list[Place]:
        """Return where the job's files begin: its paths, or what of the user's lies in the roots of `target`.

        Raises OSError.
        """
        if not self._paths:
            return [place for number in range(len(self._roots)) for place in _inside(target, number)]
        return [
            Place(root=number, path=own.path[len(root.rstrip(b"/")) + 1 :])
            for number, root in enumerate(self._roots)
            for own in self._paths
            if is_at_or_below(own.path, root.rstrip(b"/")) and own.path != root
        ]

    def path_of(self, place: Place) -> bytes:
        return b"/".join(filter(None, (self._roots[place.root].rstrip(b"/"), place.path)))

    def _is_users(self, entry: Entry) -> bool:
        is_users = entry.stat.uid == self.rights.uid
        self.passed_over += not is_users
        return is_users

    def _entry(self, entry: Entry) -> Entry:
        return replace(entry, stat=self._stat(entry.stat), xattrs=_plain(entry.xattrs))

    def _stat(self, stat: Stat) -> Stat:
        mode = stat.mode & _PLAIN_MODE
        if stat.gid in self.rights.gids or stat.gid == self.rights.gid:
            return replace(stat, mode=mode)
        # A group that the user is not in (a directory made by root): what it was allowed no other group is.
        return replace(stat, mode=mode & ~_GROUP_MODE, gid=self.rights.gid)


class OwnTarget(Target):
    """A target in which only what is the job's is made; used by threads with the rights of its user."""

    def __init__(self, path: Path, roots: Sequence[bytes], own: Own) -> None:
        super().__init__(path, roots, uid=own.rights.uid)
        self._own = own

    def _make(self, place: Place) -> bool:
        if not place.path:
            return False
        try:
            with self.folder(place) as fd:
                self._check(place, fd)
                return False
        except FileNotFoundError:
            pass
        if not self._own.may_make(place):
            raise OSError(ENOENT, "a directory on the way is missing, and not the job's")
        above, _, name = place.path.rpartition(b"/")
        parent = Place(root=place.root, path=above)
        self._make(parent)
        try:
            return self._make_in(parent, name)
        except PermissionError:
            if not self._own.is_way(place):
                raise
        with self.folder(parent) as fd:
            make_for(self._own.rights, fd, name)
        return True

    def _check(self, place: Place, fd: int) -> None:
        """Raise OSError for a directory on the way to the job's files that somebody else made."""
        if self._own.is_way(place) and os.fstat(fd).st_uid not in {0, self._own.rights.uid}:
            raise OSError(EACCES, "the directory is another user's")


def make_for(rights: Rights, folder: int, name: bytes) -> None:
    """Make a directory for the user where only root may: in one that nobody else can change. Raises OSError."""
    with _by_root(rights, folder):
        os.mkdir(name, 0o700, dir_fd=folder)
        made = os.open(name, _FOLDER, dir_fd=folder)
        try:
            os.fchown(made, rights.uid, rights.gid)
        finally:
            os.close(made)


def set_aside(target: Target, own: Own, place: Place, tag: str) -> bytes | None:
    """Give a file or directory of the user another name, `<name>.hpc-agent-<tag>`; return it.

    None where nothing has to go: nothing there, an empty directory, or something that is not the user's. Raises
    OSError.
    """
    above, _, name = place.path.rpartition(b"/")
    try:
        with target.folder(Place(root=place.root, path=above)) as parent:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if found.st_uid != own.rights.uid or (S_ISDIR(found.st_mode) and _is_empty(target, place)):
                return None
            aside = _free_name(parent, name + b".hpc-agent-" + tag.encode("ascii"))
            _rename(own.rights, parent, name, aside)
    except FileNotFoundError:
        return None
    return aside


def _inside(target: Target, root: int) -> list[Place]:
    with target.folder(Place(root=root, path=b"")) as fd:
        return [Place(root=root, path=name) for name in _names(fd)]


def _is_empty(target: Target, place: Place) -> bool:
    with target.folder(place) as fd:
        return not _names(fd)


def _rename(rights: Rights, parent: int, name: bytes, aside: bytes) -> None:
    try:
        os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)
    except PermissionError:
        with _by_root(rights, parent):
            if os.stat(name, dir_fd=parent, follow_symlinks=False).st_uid != rights.uid:
                raise
            os.rename(name, aside, src_dir_fd=parent, dst_dir_fd=parent)


@contextmanager
def _by_root(rights: Rights, folder: int) -> Iterator[None]:
    """Be root for something in a directory in which nobody else can change a name meanwhile. Raises OSError."""
    found = os.fstat(folder)
    if found.st_uid != 0 or (found.st_mode & _OTHERS_WRITE and not found.st_mode & S_ISVTX):
        raise OSError(EACCES, "others could change the directory above")
    with rights.as_root():
        yield


def _free_name(folder: int, wanted: bytes) -> bytes:
    name, number = wanted, 1
    while name in _names(folder):
        number += 1
        name = wanted + b"-%d" % number
    return name


def _names(folder: int) -> list[bytes]:
    return list(map(os.fsencode, os.listdir(folder)))


def is_at_or_below(path: bytes, top: bytes) -> bool:
    return path == top or path.startswith(top + b"/")


def _plain(xattrs: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Return the attributes that a user may set."""
    return {name: value for name, value in xattrs.items() if name.startswith("user.") or name in _ACLS}
