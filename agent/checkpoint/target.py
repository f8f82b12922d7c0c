"""The directory that a checkpoint is restored into, and nothing outside of it (P8).

Job users may own what is below, and a checkpoint may be planted: every directory is reached from descriptor to
descriptor, no link is followed on the way, whoever made it. Blocking calls, safe to use from several threads.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from agent.checkpoint.attributes import apply
from agent.checkpoint.leftover import Leftovers
from agent.checkpoint.place import Place
from agent.errors import PermanentError
from agent.model.checkpoint import Stat
from agent.scratch.tree import Tree

_ROOT_MODE = 0o755
_WORKING_MODE = 0o700
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TargetUnusable(PermanentError):
    """The directory to restore into can't be made or opened."""


class Target:
    """`path`, made if it is missing. A single root goes straight into it, of several each into its own path below.

    `uid` is whose what we make is: by default ours.
    """

    def __init__(self, path: Path, roots: Sequence[bytes], *, uid: int | None = None) -> None:
        self.leftovers = Leftovers(os.geteuid() if uid is None else uid)
        try:
            path.mkdir(parents=True, exist_ok=True)
            top = os.open(path, _FOLDER & ~os.O_NOFOLLOW)
        except OSError as error:
            raise TargetUnusable("open", str(path), error.strerror or repr(error)) from error
        try:
            self._trees = [_tree(top, root if len(roots) > 1 else b"") for root in roots]
        except OSError as error:
            raise TargetUnusable("open", f"the roots below {path}", error.strerror or repr(error)) from error
        finally:
            os.close(top)

    def close(self) -> None:
        for tree in self._trees:
            tree.close()

    def folder(self, place: Place) -> AbstractContextManager[int]:
        """Lend a descriptor of a directory. Raises OSError, also where a link stands in the way."""
        return self._trees[place.root].folder(place.path)

    def enter(self, place: Place) -> bool:
        """Make a directory, or take the one that is there and clear what a run that was cut left; return whether made.

        Raises OSError.
        """
        made = self._make(place)
        if not made:
            with self.folder(place) as fd:
                self.leftovers.enter(place, fd)
        return made

    def tidy(self, place: Place) -> None:
        """Remove what a run that was cut left in a directory and this one did not go on with. Raises OSError."""
        if self.leftovers.are_in(place):
            with self.folder(place) as fd:
                self.leftovers.remove(place, fd)

    def finish(self, place: Place, stat: Stat, xattrs: Mapping[str, bytes], *, owner: bool) -> list[str]:
        """Give a directory its attributes, after all that is in it; return what could not be set. Raises OSError."""
        with self.folder(place) as fd:
            return apply(fd, stat, xattrs, owner=owner)

    def _make(self, place: Place) -> bool:
        if not place.path:
            return False
        above, _, name = place.path.rpartition(b"/")
        parent = Place(root=place.root, path=above)
        try:
            return self._make_in(parent, name)
        except FileNotFoundError:
            self._make_above(parent)
            return self._make_in(parent, name)

    def _make_above(self, place: Place) -> None:
        """Make the directories that no line of the checkpoint speaks of, from the top."""
        parts = place.path.split(b"/")
        for depth in range(1, len(parts) + 1):
            above = Place(root=place.root, path=b"/".join(parts[: depth - 1]))
            self._make_in(above, parts[depth - 1])

    def _make_in(self, parent: Place, name: bytes) -> bool:
        with self.folder(parent) as fd:
            return _made(fd, name, _WORKING_MODE)


def _made(folder: int, name: bytes, mode: int) -> bool:
    try:
        os.mkdir(name, mode, dir_fd=folder)
    except FileExistsError:
        return False
    return True


def _tree(top: int, path: bytes) -> Tree:
    """Return the tree at `path` below an open directory; what is missing on the way is made."""
    fd = os.dup(top)
    try:
        for name in filter(None, path.split(b"/")):
            _made(fd, name, _ROOT_MODE)
            below = os.open(name, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = below
        return Tree(Path(f"/proc/self/fd/{fd}"))
    finally:
        os.close(fd)
