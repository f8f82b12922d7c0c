"""Any tree, any changes between passes and during them, any faults of the store, lives cut anywhere."""

import asyncio
import os
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agent.chance import SeededChance
from agent.checkpoint import commits, save, segment
from agent.checkpoint.cache import Cache
from agent.checkpoint.catalog import find
from agent.checkpoint.choice import Choice
from agent.checkpoint.ledger import text_of
from agent.checkpoint.opening import Opening
from agent.checkpoint.receipts import Receipts
from agent.checkpoint.restore import Restorer
from agent.checkpoint.scan import scan
from agent.checkpoint.verify import verify
from agent.clock import SystemClock
from agent.errors import PermanentError
from agent.model.checkpoint import EntryType, Totals
from agent.scratch import reader, walk
from agent.store.base import BodyRefused, StoreDenied, StoreUnavailable, UploadMissing
from agent.store.memory import MemoryStore
from agent.store.retrying import Retrying
from tests.fakes.flaky_store import FlakyStore
from tests.fakes.mutations import Act, acts
from tests.fakes.saved import NODE, PREFIX, a_saver, directories, head_of_all, stored, tree_of, tree_on_disk

RUN = 5
SMALL = {"part_size": 4096, "pack_below": 1000, "pack_size": 3000}


class Later:
    """A wall clock two minutes ahead: files that were written just now are at rest."""

    def now(self):
        return datetime.now(UTC) + timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Pass:
    """`changes` come before it, `meddling` before numbered calls of the store; `faults` at others.

    `most_bytes`: it is a copy ahead. `fresh`: files are too young for their times to be believed.
    """

    changes: list[Act]
    faults: dict[int, str] = field(default_factory=dict)
    meddling: dict[int, Act] = field(default_factory=dict)
    fresh: bool = False
    quiesced: bool = False
    most_bytes: int | None = None
    new_checkpoint: bool = True
    loses_cache: bool = False


class Cut(Exception):
    """The copier was killed."""


class Store(FlakyStore):
    """Calls are numbered; at some the tree is changed, at some something goes wrong."""

    def __init__(self, store, faults, meddle):
        super().__init__(store)
        self._faults = faults
        self._meddle = meddle
        self.cut = asyncio.Event()

    async def _call(self, name, key, call):
        self.calls.append(f"{name} {key}")
        number = len(self.calls)
        self._meddle(number)
        await asyncio.sleep(0)
        match self._faults.get(number):
            case _ if self.cut.is_set():
                await asyncio.get_running_loop().create_future()
            case "unavailable":
                raise StoreUnavailable(name, key, "slow down")
            case "refused" if name in {"put", "put_part"}:
                raise BodyRefused(name, key, "damaged")
            case "dropped" if name in {"put_part", "complete", "parts"}:
                self._store._uploads.clear()
                raise UploadMissing(name, key, "dropped")
            case "denied":
                raise StoreDenied(name, key, "no")
            case "lost":
                await call()
                raise StoreUnavailable(name, key, "the reply was lost")
            case "cut" | "cut after" as what:
                if what == "cut after":
                    await call()
                self.cut.set()
                await asyncio.get_running_loop().create_future()
        return await call()


class Scratch:
    """A node's scratch, its state directory, its bucket; and every look that each path ever had."""

    def __init__(self, directory, executor):
        self.root = directory / "scratch"
        self.root.mkdir()
        self.state = directory / "state"
        self.state.mkdir()
        self.store = MemoryStore(smallest_part=1)
        self._executor = executor
        self._clock = Later()
        self._passes = 0
        self._checkpoints = 0
        self._counted = True
        self.seen = {}
        self.stable = {}
        self.held = {}

    @property
    def checkpoint(self):
        return f"20261123T0915{self._checkpoints:02}.000Z-1a2b3c4d"

    @property
    def cache(self):
        return Cache(self.state / "base", place="here")

    def act(self, act):
        act.on(os.fsencode(self.root))
        self.look()

    def look(self):
        """Note what is on the disk: `stable` is what was there at each look of a pass."""
        now = tree_on_disk(self.root)
        for path, value in now.items():
            self.seen.setdefault(path, []).append(value)
        self.stable = {path: value for path, value in self.stable.items() if now.get(path) == value}
        return now

    async def run(self, one):
        for act in one.changes:
            act.on(os.fsencode(self.root))
        self.stable = tree_on_disk(self.root)
        self.look()
        if one.loses_cache:
            for path in (self.state / "base").glob("*"):
                path.unlink()
        self._passes += 1
        self._checkpoints += one.new_checkpoint or self._passes == 1
        if not await stored(self.store, f"checkpoints/{NODE.cluster}/n1/{NODE.writer}/{self.checkpoint}."):
            # Another checkpoint is known from the disk only; without, its heads stand as they are.
            last = self.cache.last()
            self.held = {} if last is None else await tree_of(self.store, last.head)
        store = Store(self.store, one.faults, lambda number: number in one.meddling and self.act(one.meddling[number]))
        try:
            head = await self._save(one, store)
        except (Cut, PermanentError):
            head = None
        self.look()
        await self.check(head, one)

    async def _save(self, one, store):
        # Threads of its own, which a kill ends too.
        with ThreadPoolExecutor(4) as executor:
            return await self._one_life(one, store, executor)

    async def _one_life(self, one, store, executor):
        saver = a_saver(
            Retrying(store, SeededChance(1), lambda _: None, first=0),
            self.root,
            executor,
            checkpoint=self.checkpoint,
            cache=self.cache,
            receipts=Receipts.load(self.state / "receipts"),
            clock=SystemClock() if one.fresh else self._clock,
            quiesced=one.quiesced,
            choice=Choice(most_bytes=one.most_bytes),
            connections=3,
            commit_every=0.002,
            **SMALL,
        )
        try:
            await unless_cut(store, saver.copy())
        finally:
            if saver._opening.trouble:
                self.held = {}  # nothing to build on: the former heads stand as they are
        return (await unless_cut(store, saver.commit())).head

    async def check(self, head, one):
        """Raise AssertionError when the newest head is not what a restore should find."""
        newest = await head_of_all(self.store)
        assert head is None or head == newest
        if newest is None:
            assert not self.held
            return
        tree = await tree_of(self.store, newest)
        torn = await self._torn(newest)
        self._counted = self._counted and head is not None and not one.meddling
        if self._counted:  # else names of one file may be met at different times
            assert newest.totals == await totals_of(self.store, newest)
        for path, value in tree.items():
            assert path == os.fsencode(self.root) or tree[os.path.dirname(path)][0] == "d"  # noqa: PTH120 - bytes
            assert path in torn or value in self.seen[path] or (one.meddling and path not in self.stable), path
        for path, value in self.stable.items():
            if self.held.get(path) == value:
                assert tree.get(path) == value, f"{path} was saved, did not change, and is lost"
        if head is not None:
            await self._check_whole(head, tree, torn, one)
        self.held = tree

    async def _check_whole(self, head, tree, torn, one):
        left = head.left.paths
        disk = tree_on_disk(self.root)
        for path in self.stable:
            if path in disk and path not in torn and not (disk[path][0] == "f" and left):
                assert tree.get(path) == disk[path], path
        if one.meddling:
            return
        assert not torn
        assert head.complete == (not head.left.files)
        differing = {text_of(path) for path in tree.keys() | disk.keys() if tree.get(path) != disk.get(path)}
        # An older row stands for a file that is left, and so does a directory that had its name.
        assert all(path in left or any(path.startswith(f"{above}/") for above in left) for path in differing)
        if head.complete and not one.fresh:
            assert tree == disk
            opening = Opening(
                store=self.store, prefix=PREFIX, cache=self.cache, executor=self._executor, clock=SystemClock()
            )
            looked = await scan(roots=[self.root], exclude=[], opening=opening, executor=self._executor)
            on_disk = sum(value[0] == "f" for value in disk.values())
            assert (looked.files, looked.unsure_files, looked.total_files) == (0, 0, on_disk)

    async def _torn(self, head):
        return {
            b"/".join(filter(None, (head.roots[found.root], found.path, entry.name)))
            for found in await directories(self.store, head)
            for entry in found.entries
            if entry.torn
        }

    async def check_restore(self, target):
        """Raise AssertionError when the agent's own restore of the last head is not what is on the disk."""
        head = await head_of_all(self.store)
        commit = await find(self.store, PREFIX, head.checkpoint)
        assert commit.head == head
        assert not (await verify(self.store, PREFIX, commit, executor=self._executor)).problems
        await Restorer(self.store, PREFIX, target=target, executor=self._executor, owner=True).restore(commit)
        assert below(target) == below(self.root)
        assert linked(target) == linked(self.root)


def below(root):
    """What is on the disk of what a restore makes, by path relative to the root."""
    disk = tree_on_disk(root).items()
    return {path.removeprefix(os.fsencode(root)): value for path, value in disk if value[0] != "p"}


def linked(root):
    """Which names are one file, or one symbolic link."""
    names = {}
    for above, folders, files in os.walk(os.fsencode(root)):
        for name in folders + files:
            path = above + b"/" + name
            found = os.lstat(path)
            if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
                names.setdefault(found.st_ino, set()).add(path.removeprefix(os.fsencode(root)))
    return sorted(sorted(group) for group in names.values() if len(group) > 1)


async def totals_of(store, head):
    """What the segments of a head hold, counted anew."""
    found = await directories(store, head)
    entries = [entry for directory in found for entry in directory.entries]
    once = {entry.link or (number,): entry for number, entry in enumerate(entries)}
    return Totals(
        files=sum(entry.type is EntryType.FILE for entry in entries),
        bytes=sum(entry.ref.length for entry in once.values() if entry.ref),
        directories=sum(not directory.run for directory in found),
        symlinks=sum(entry.type is EntryType.SYMLINK for entry in entries),
        skipped=sum(entry.type.is_skipped for entry in entries),
        torn=sum(entry.torn for entry in entries),
    )


async def unless_cut(store, doing):
    """Return what `doing` returns; raise Cut once the store is cut, everything let go of, as after a kill -9."""
    task, cut = asyncio.ensure_future(doing), asyncio.ensure_future(store.cut.wait())
    await asyncio.wait([task, cut], return_when=asyncio.FIRST_COMPLETED)
    cut.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    raise Cut


@contextmanager
def small_limits():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "RUN", RUN)  # all of them constants
        patch.setattr(segment, "RUN_ENTRIES", RUN)
        patch.setattr(save, "MOST_LAYERS", 3)
        patch.setattr(commits, "MOST_SEGMENTS", 6)
        patch.setattr(reader, "MOST_EXTENTS", 3)
        yield


FAULTS = ("unavailable", "lost", "refused", "dropped", "denied", "cut", "cut after")
calls = st.integers(1, 25)
passes = st.builds(
    Pass,
    changes=st.lists(acts, max_size=8),
    faults=st.dictionaries(calls, st.sampled_from(FAULTS), max_size=3),
    meddling=st.just({}) | st.dictionaries(calls, acts, max_size=3),
    fresh=st.booleans(),
    quiesced=st.booleans(),
    most_bytes=st.none() | st.none() | st.integers(0, 20_000),
    new_checkpoint=st.booleans(),
    loses_cache=st.sampled_from([False, False, False, True]),
)
LAST = Pass([], quiesced=True)


def check(tree, several):
    async def run(directory, executor):
        scratch = Scratch(directory, executor)
        for act in tree:
            act.on(os.fsencode(scratch.root))
        for one in several:
            await scratch.run(one)
        await scratch.run(LAST)
        await scratch.check_restore(directory / "back")

    with (
        small_limits(),
        tempfile.TemporaryDirectory(dir="/var/tmp") as directory,  # a disk: see test_save_increments.py
        ThreadPoolExecutor(4) as executor,
    ):
        asyncio.run(run(Path(directory), executor))


trees = st.lists(acts, max_size=20)
histories = st.lists(passes, min_size=1, max_size=4)
usual = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


@settings(usual, max_examples=60, derandomize=True)
@given(trees, histories)
def test_p2_p3_whatever_happens_each_head_restores_what_was_read_or_says_what_is_missing(tree, several):
    check(tree, several)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(usual, max_examples=int(os.environ.get("HISTORIES", "3000")), phases=[Phase.generate])
@given(trees, histories)
def test_p2_p3_the_same_for_thousands_of_histories(tree, several):
    check(tree, several)
