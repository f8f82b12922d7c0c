"""What a restore has just written, as rows for the next pass: a restored tree is not unsaved.

A file counts only while it is, to its inode and ctime, what was put in its place: who changed it since has it saved.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.model.checkpoint import Directory, Entry, EntryType
from agent.scratch.attributes import stat_of, type_of
from agent.scratch.tree import Tree


@dataclass(slots=True)
class Written:
    """Filled by a restore, from several threads: the ctime of each file by its device and inode, some 100 bytes each.

    `lines` is what was to be restored, as a restore sees it.
    """

    lines: Callable[[], Iterator[Directory]] = lambda: iter(())
    _times: dict[int, dict[int, int]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not self._times

    def file(self, found: os.stat_result) -> None:
        """Note a whole and verified file that has its name, its attributes and the names it had before."""
        self._times.setdefault(found.st_dev, {})[found.st_ino] = found.st_ctime_ns

    def another_name(self, found: os.stat_result) -> None:
        """Note that a file was given one more name, which changed its ctime."""
        times = self._times.get(found.st_dev, {})
        if found.st_ino in times:
            times[found.st_ino] = max(times[found.st_ino], found.st_ctime_ns)

    def rows(self, roots: Sequence[bytes], *, until: float) -> Iterator[Directory]:
        """Yield the files that are below `roots` as they were written: where their bytes are, with their stat of now.

        Ends at `until` (monotonic), however far it came. Blocking; raises RootMissing.
        """
        trees = [Tree(Path(os.fsdecode(root))) for root in roots]
        last, run = None, 0
        for line in self.lines():
            if time.monotonic() > until:
                break
            entries = tuple(self._standing(trees[line.root], line))
            if entries:
                place = (line.root, line.path)
                run = run + 1 if place == last else 0
                last = place
                yield Directory(root=line.root, path=line.path, run=run, entries=entries)
        for tree in trees:
            tree.close()

    def _standing(self, tree: Tree, line: Directory) -> Iterator[Entry]:
        with suppress(OSError), tree.folder(line.path) as folder:
            for entry in line.entries:
                with suppress(FileNotFoundError):
                    found = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
                    if self._is_as_written(entry, found):
                        yield replace(entry, stat=stat_of(found), link="", torn=False, unsettled=False)

    def _is_as_written(self, entry: Entry, found: os.stat_result) -> bool:
        is_same = (found.st_size, found.st_mtime_ns) == (entry.stat.size, entry.stat.mtime_ns)
        is_ours = self._times.get(found.st_dev, {}).get(found.st_ino) == found.st_ctime_ns
        return is_same and is_ours and not entry.torn and entry.type is type_of(found) is EntryType.FILE
