"""The middle of a restore: what to fetch, many at a time, and directories closed once all that is in them has come."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from typing import ParamSpec, Protocol, TypeVar

from agent.checkpoint.keys import full
from agent.checkpoint.placing import Begun, Placed, compared, damaged, failure
from agent.checkpoint.sorting import Sorting
from agent.checkpoint.tally import Tally
from agent.checkpoint.together import blocking, one_error
from agent.checkpoint.unfolding import Chunk, Problem
from agent.checkpoint.units import Batch, Folder, Large, Link, Member, Range, alone, ranges, units
from agent.checksum import combine
from agent.errors import IntegrityMismatch
from agent.model.checkpoint import ObjectRef
from agent.store.base import ObjectMissing, ObjectStore, Take

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Chunks(Protocol):
    """What is to be fetched, piece by piece, until None. Blocking."""

    def chunk(self) -> Chunk | None: ...


class Taker(Protocol):
    """Takes the bytes of a range, in order; `crc` is that of all it took."""

    crc: int

    def take(self, piece: memoryview) -> None: ...


class Places(Protocol):
    """Where the bytes go: `Placing` says what each of these does. Blocking."""

    def small(self, member: Member, data: memoryview) -> Placed: ...
    def begin(self, member: Member) -> Begun: ...
    def there(self, begun: Begun, part: Range) -> int | None: ...
    def part(self, begun: Begun, part: Range) -> Taker: ...
    def end(self, begun: Begun) -> Placed: ...
    def drop(self, begun: Begun) -> None: ...
    def link(self, link: Link) -> Placed | None: ...
    def leave(self, folders: Sequence[Folder]) -> list[Problem]: ...


class Fetching:
    """One restore: units under way, directories that wait for them."""

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        executor: Executor,
        placing: Places,
        tally: Tally,
        connections: int,
    ) -> None:
        self._store = store
        self._prefix = prefix
        self._executor = executor
        self._placing = placing
        self._tally = tally
        self._connections = connections
        self._slots = asyncio.Semaphore(connections)
        self._window = asyncio.Semaphore(2 * connections)

    async def all(self, unfolding: Chunks) -> None:
        async with asyncio.TaskGroup() as crew:
            while (chunk := await self._blocking(unfolding.chunk)) is not None:
                await self._count(chunk)
                for unit in chunk.units():
                    await self._window.acquire()
                    crew.create_task(self._one(unit), name=f"restore {type(unit).__name__.lower()}")

    async def _count(self, chunk: Chunk) -> None:
        """Note what directories wait for before any of it is begun."""
        self._tally.chunk(chunk)
        for folder in chunk.entered:
            folder.pending += 1
            if folder.above is not None:
                folder.above.pending += 1
        for folder in chunk.folders():
            folder.pending += 1
        await self._release(chunk.left)

    async def _release(self, folders: Iterable[Folder]) -> None:
        """Count down; give their attributes to directories that wait for nothing any more, from the deepest up."""
        ready = [whole for folder in folders for whole in _counted_down(folder)]
        if ready:
            self._tally.trouble(await self._blocking(self._placing.leave, ready))

    async def _one(self, unit: Batch | Large | Link) -> None:
        try:
            match unit:
                case Batch():
                    await self._batch(unit)
                case Large():
                    await self._large(unit)
                case Link():
                    await self._link(unit)
        finally:
            self._window.release()
        self._tally.tell()

    async def _batch(self, batch: Batch) -> None:
        sorting = Sorting(batch, self._placing.small)
        damage: IntegrityMismatch | ObjectMissing | None = None
        try:
            if batch.length:
                async with self._slots:
                    await self._fetch(batch.key, sorting.take, batch.offset, batch.length)
            else:
                await self._blocking(sorting.take_nothing)
        except (IntegrityMismatch, ObjectMissing) as error:
            damage = error
        await self._settle(sorting.placed)
        if damage is not None and len(batch.members) == 1:
            await self._settle([damaged(batch.members[0], damage.detail)])
            return
        for member in sorting.missing:
            await self._batch(alone(member))

    async def _large(self, large: Large) -> None:
        try:
            await self._check_size(large.ref)
            begun = await self._blocking(self._placing.begin, large.member)
        except (IntegrityMismatch, ObjectMissing) as error:
            await self._settle([damaged(large.member, error.detail)])
            return
        except OSError as error:
            await self._settle([failure(large.member, error)])
            return
        placed = await self._whole(large, begun)
        await self._blocking(self._placing.drop, begun)
        del self._tally.under_way[begun.working]
        if placed.failed and begun.is_left:  # what was left was not what it should be
            await self._large(large)
        else:
            await self._settle([placed])

    async def _check_size(self, ref: ObjectRef) -> None:
        """Raise IntegrityMismatch before room is taken for a file that the store does not hold."""
        key = full(self._prefix, ref.key)
        stored = await self._store.head(key)
        if stored.size < ref.offset + ref.length:
            raise IntegrityMismatch("restore", key, f"{stored.size} bytes, too few for what was recorded of it")

    async def _whole(self, large: Large, begun: Begun) -> Placed:
        """Fetch all of a large file and put it in its place, if it is what was recorded."""
        crc = 0
        try:
            for part, part_crc in zip(*await self._parts(large, begun), strict=True):
                crc = combine(crc, part_crc, part.length)
        except (IntegrityMismatch, ObjectMissing) as error:
            return damaged(large.member, error.detail)
        except OSError as error:
            return failure(large.member, error)
        if (checked := compared(large.member, crc)).failed:
            return checked
        return await self._blocking(self._placing.end, begun)

    async def _parts(self, large: Large, begun: Begun) -> tuple[list[Range], list[int]]:
        """Fetch and write all ranges of a file; return them with their CRCs."""
        parts = list(ranges(large.ref, large.member.entry))
        crcs = [0] * len(parts)
        waiting = iter(range(len(parts)))

        async def work() -> None:
            for index in waiting:
                crcs[index] = await self._part(large, begun, parts[index])

        with one_error():
            async with asyncio.TaskGroup() as crew:
                for number in range(min(self._connections, len(parts))):
                    crew.create_task(work(), name=f"restore parts {number}")
        return parts, crcs

    async def _part(self, large: Large, begun: Begun, part: Range) -> int:
        async with self._slots:
            crc = await self._blocking(self._placing.there, begun, part) if begun.is_left else None
            if crc is None:
                filling = self._placing.part(begun, part)
                await self._fetch(large.ref.key, filling.take, part.offset, part.length)
                crc = filling.crc
        self._tally.under_way[begun.working] += part.length
        self._tally.tell()
        return crc

    async def _link(self, link: Link) -> None:
        await link.group.settled.wait()
        placed = await self._blocking(self._placing.link, link)
        if placed is not None:
            await self._settle([placed], is_link=True)
            return
        for unit in units([link.member]):
            await (self._large(unit) if isinstance(unit, Large) else self._batch(unit))

    async def _settle(self, placed: Iterable[Placed], *, is_link: bool = False) -> None:
        """Count what is in its place or never will be, and let go of what waited for it."""
        done = list(placed)
        for each in done:
            self._tally.placed(each, is_link=is_link)
            if each.member.group is not None:
                each.member.group.settled.set()
        await self._release(each.member.folder for each in done)

    async def _fetch(self, key: str, take: Take, offset: int, length: int) -> None:
        await self._store.fetch(full(self._prefix, key), take, offset=offset, length=length)
        self._tally.received += length

    async def _blocking(self, job: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await blocking(self._executor, job, *args, **kwargs)


def _counted_down(folder: Folder) -> Iterator[Folder]:
    above: Folder | None = folder
    while above is not None:
        above.pending -= 1
        if above.pending:
            return
        yield above
        above = above.above
