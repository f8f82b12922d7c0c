"""Hard links: the bytes of an inode are sent once, whichever of its names comes first."""

from agent.checkpoint.ledger import Job
from agent.model.checkpoint import Entry


class Links:
    """The inodes with several names that a copy has met."""

    def __init__(self) -> None:
        self._stored: dict[str, Entry] = {}
        self._waiting: dict[str, list[Job]] = {}

    def stored_as(self, job: Job) -> Entry | None:
        """Return the entry of another name of the same inode that is stored."""
        return self._stored.get(job.entry.link)

    def joins(self, job: Job) -> bool:
        """Return whether another name of the inode is under way: then the job waits for it. Else it is the first."""
        link = job.entry.link
        if link in self._waiting:
            self._waiting[link].append(job)
            return True
        if link:
            self._waiting[link] = []
        return False

    def settle(self, job: Job, entry: Entry) -> list[Job]:
        """Note that the first name is stored; return the names that waited for it."""
        self._stored[job.entry.link] = entry
        return self._waiting.pop(job.entry.link, [])

    def lose(self, job: Job) -> Job | None:
        """Note that the first name led nowhere; return the one that has to be tried in its place."""
        waiting = self._waiting.pop(job.entry.link, [])
        if not waiting:
            return None
        self._waiting[job.entry.link] = waiting[1:]
        return waiting[0]
