"""How much a checkpoint holds, kept while rows are added to it and taken from it. Pure."""

from dataclasses import asdict

from agent.model.checkpoint import Entry, EntryType, Totals


def at_least(one: Totals, other: Totals) -> Totals:
    """Return what is certain of the sum of two, of which nobody knows how much is in both: the larger counts."""
    others = asdict(other)
    return Totals(**{name: max(count, others[name]) for name, count in asdict(one).items()})


class Counts:
    """Begins with the `totals` of the head that is built on. The bytes of hard links count once, for all their names.

    A name more or less changes the times of every other name of the file: a walk meets all of them, and they are taken
    and added, or stand as they were. Until it has, the bytes of those that are taken count.
    """

    def __init__(self, totals: Totals | None = None) -> None:
        totals = totals or Totals()
        self.directories = totals.directories
        self._files = totals.files
        self._bytes = totals.bytes
        self._symlinks = totals.symlinks
        self._skipped = totals.skipped
        self._torn = totals.torn
        self._links_taken: dict[str, int] = {}
        self._links_added: set[str] = set()
        self._links_standing: set[str] = set()

    def add(self, entry: Entry, *, shared: bool = False) -> None:
        """Count a row; `shared`: its bytes are those of another name that is counted."""
        self._change(entry, 1)
        self._bytes += 0 if shared else _length(entry)
        if entry.link:
            self._links_added.add(entry.link)

    def take(self, entry: Entry) -> None:
        """Count a row no more."""
        self._change(entry, -1)
        if entry.link:
            self._links_taken.setdefault(entry.link, _length(entry))
        else:
            self._bytes -= _length(entry)

    def stand(self, entry: Entry) -> None:
        """Note that a row stays, though its file, or another name of it, is not what it was."""
        if entry.link:
            self._links_standing.add(entry.link)

    def totals(self, *, walked: bool) -> Totals:
        """Return what there is; `walked`: all names have been met."""
        gone = self._links_taken.keys() & self._links_added
        if walked:
            gone |= self._links_taken.keys() - self._links_standing
        return Totals(
            files=max(0, self._files),
            bytes=max(0, self._bytes - sum(self._links_taken[link] for link in gone)),
            directories=max(0, self.directories),
            symlinks=max(0, self._symlinks),
            skipped=max(0, self._skipped),
            torn=max(0, self._torn),
        )

    def _change(self, entry: Entry, by: int) -> None:
        if entry.type is EntryType.FILE:
            self._files += by
        elif entry.type is EntryType.SYMLINK:
            self._symlinks += by
        else:
            self._skipped += by
        if entry.torn:
            self._torn += by


def _length(entry: Entry) -> int:
    return entry.ref.length if entry.ref else 0
