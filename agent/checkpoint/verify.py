"""Whether a checkpoint could be restored: every object it names, as the store has it, against what was recorded."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

from agent.checkpoint.catalog import load_segments, tree
from agent.checkpoint.checking import Checking, Reading
from agent.checkpoint.fetching import Fetching
from agent.checkpoint.keys import full
from agent.checkpoint.placing import compared, damaged
from agent.checkpoint.tally import Tally
from agent.checkpoint.together import blocking, one_error
from agent.checkpoint.unfolding import Problem
from agent.checkpoint.units import Member
from agent.model.checkpoint import Commit, Directory, ObjectRef
from agent.model.progress import Progress
from agent.store.base import ObjectMissing, ObjectStore, Stored
from agent.value import value


@value
class Verified:
    """What was found good, and what not: `problems` are the first thousand of `problem_count`, each with its key.

    A pack that is missing or short is one problem, not one for each file in it, unless all bytes were fetched.
    """

    files: int
    bytes: int
    problem_count: int
    problems: tuple[Problem, ...]


async def verify(
    store: ObjectStore,
    prefix: str,
    commit: Commit,
    *,
    executor: Executor,
    deep: bool = False,
    connections: int = 16,
    report: Callable[[Progress], None] = lambda _: None,
) -> Verified:
    """Return what is wrong with the objects of a checkpoint: missing, of another size, of another checksum.

    Without `deep` the store is asked for sizes and for the checksums it keeps, which tell of a file that is an object,
    not of a file in a pack. With `deep` all bytes are fetched. Raises IntegrityMismatch or FormatInvalid when a
    segment is damaged: then nothing says what there should be.
    """
    lines = tree(commit.head, await load_segments(store, prefix, commit.head, executor))
    tally = Tally(commit.head, report)
    with one_error():
        if deep:
            await Fetching(store, prefix, executor, Checking(), tally, connections).all(Reading(lines))
        else:
            await _Asking(store, prefix, executor, tally, connections).all(lines)
    done = tally.restored()
    return Verified(files=done.files, bytes=done.bytes, problem_count=done.problem_count, problems=done.problems)


@dataclass(slots=True)
class _Pack:
    """A pack, how far it has to reach, and a file that needs it to."""

    end: int
    member: Member


class _Asking:
    """Asks the store about every object, many at a time."""

    def __init__(self, store: ObjectStore, prefix: str, executor: Executor, tally: Tally, connections: int) -> None:
        self._store = store
        self._prefix = prefix
        self._executor = executor
        self._tally = tally
        self._slots = asyncio.Semaphore(connections)
        self._packs: dict[str, _Pack] = {}

    async def all(self, lines: Iterator[Directory]) -> None:
        reading = Reading(lines)
        while (chunk := await blocking(self._executor, reading.chunk)) is not None:
            await self._each(self._alone(chunk.members))
        await self._each(self._packs.values())

    async def _each(self, asked: Iterable[Member | _Pack]) -> None:
        async with asyncio.TaskGroup() as crew:
            for each in asked:
                await self._slots.acquire()
                crew.create_task(self._one(each), name="verify")

    def _alone(self, members: Iterable[Member]) -> Iterator[Member]:
        """Yield the files that are objects; note how far packs have to reach, and count what is in them."""
        for member in members:
            ref = _ref(member)
            if not ref.key.endswith(".tar"):
                yield member
                continue
            end = ref.offset + ref.length
            pack = self._packs.setdefault(ref.key, _Pack(end, member))
            if pack.end < end:
                pack.end, pack.member = end, member
            self._tally.placed(compared(member, ref.crc64nvme), is_link=False)

    async def _one(self, asked: Member | _Pack) -> None:
        try:
            await (self._pack(asked) if isinstance(asked, _Pack) else self._object(asked))
        finally:
            self._slots.release()
        self._tally.tell()

    async def _object(self, member: Member) -> None:
        ref = _ref(member)
        stored = await self._ask(member)
        if stored is None:
            return
        if stored.size != ref.offset + ref.length:
            detail = f"{stored.size} bytes, recorded are {ref.offset + ref.length}"
            self._tally.placed(damaged(member, detail), is_link=False)
            return
        crc = ref.crc64nvme if stored.crc64nvme is None or ref.offset else stored.crc64nvme
        self._tally.placed(compared(member, crc), is_link=False)

    async def _pack(self, pack: _Pack) -> None:
        stored = await self._ask(pack.member)
        if stored is not None and stored.size < pack.end:
            detail = f"{stored.size} bytes, files up to {pack.end} were recorded"
            self._tally.trouble(damaged(pack.member, detail).problems)

    async def _ask(self, member: Member) -> Stored | None:
        """Return what the store says of the object of a member; None, and a problem, when there is none."""
        try:
            return await self._store.head(full(self._prefix, _ref(member).key))
        except ObjectMissing as error:
            self._tally.trouble(damaged(member, error.detail).problems)
            return None


def _ref(member: Member) -> ObjectRef:
    assert member.entry.ref is not None
    return member.entry.ref
