"""A job's files, brought back: from the head that Slurm's own record of the job vouches for, as the job's user."""

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.checkpoint.catalog import load_head, load_segments, tree
from agent.checkpoint.format import FormatInvalid
from agent.checkpoint.own import Own, OwnPath, set_aside
from agent.checkpoint.placing import NoRoom
from agent.checkpoint.restore import RestoreDamaged, Restorer
from agent.checkpoint.rights import Rights
from agent.checkpoint.tally import Restored
from agent.checkpoint.together import blocking
from agent.checkpoint.verify import verify
from agent.checkpoint.written import Written
from agent.cli.adoption import adopt, written_for
from agent.cli.bucket import opened, place
from agent.errors import IntegrityMismatch, PermanentError
from agent.jobs.choice import Result, is_exact, record_for, result
from agent.jobs.ownership import own_parts
from agent.jobs.record import JobRecord
from agent.jobs.start import JobStart
from agent.model.checkpoint import Commit, Directory
from agent.model.job import Restore
from agent.scratch.mount import require_mount
from agent.settings import Settings
from agent.slurm.admin_comment import AdminComment, Kept
from agent.store.base import ObjectMissing, ObjectStore
from agent.value import value

CLOSING: Final = 1.0
"""Seconds for what was begun to be set aside."""
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class NotRestored(PermanentError):
    """Nothing of the job's can be brought back."""


@value
class Rank:
    """The job's new life on this node.

    `comment` is its AdminComment; `names` takes a list of nodes as Slurm writes it apart; `has_company`: another job of
    the user is on the node.
    """

    start: JobStart
    life: int
    rank: int
    comment: AdminComment
    names: Callable[[str], Awaitable[list[str]]]
    has_company: bool


@value
class Candidate:
    """A head that may be restored: its digest is the one that stands in Slurm."""

    kept: Kept
    commit: Commit
    record: JobRecord


@dataclass(slots=True)
class Homecoming:
    """One restore. `said` is what there is to tell about it."""

    job: Rank
    settings: Settings
    wish: Restore
    rights: Rights
    said: list[str] = field(default_factory=list)

    async def run(self, *, until: float) -> Result:
        """Restore the newest head that can be, and stop `until` then (monotonic).

        Raises AgentError when there is none, or the store can't be reached.
        """
        at = place(None, self.settings)
        workers = self.settings.s3.connections + 4
        with (
            ThreadPoolExecutor(2, thread_name_prefix="reading") as reading,
            # Whatever touches the disk has the rights of the job's user, and no more.
            ThreadPoolExecutor(workers, thread_name_prefix="restoring", initializer=self.rights.take) as writing,
        ):
            try:
                async with asyncio.timeout_at(until + CLOSING), opened(at, self.settings, lambda _: None) as store:
                    work = _Work(self, store, at.prefix, reading, writing, until=until)
                    found = await work.run()
            except TimeoutError as error:
                raise NotRestored("reach", str(at), "not within the time that a Prolog has") from error
            await blocking(reading, adopt, self.settings, at, work.written, until=until)
            return found


@value
class _Begun:
    """A restore that puts things in place. `may_go`: what is there may be set aside, it is no other job's."""

    path: Path
    own: Own
    may_go: bool


class _Work:
    """Finding the head and placing the files, with the store at hand."""

    def __init__(
        self,
        home: Homecoming,
        store: ObjectStore,
        prefix: str,
        reading: Executor,
        writing: Executor,
        *,
        until: float,
    ) -> None:
        self._home = home
        self._job = home.job
        self._settings = home.settings
        self._store = store
        self._prefix = prefix
        self._reading = reading
        self._writing = writing
        self._until = until
        self._begun: _Begun | None = None
        self.written: Written | None = None
        """What is in its place by now."""

    async def run(self) -> Result:
        """Restore the best candidate that verifies; what did not come whole is only left to a job that wants it so."""
        try:
            async with asyncio.timeout_at(self._until):
                return await self._first_whole()
        except TimeoutError:
            self._say("stopped: Slurm gives a job no longer to start")
        except NoRoom as error:
            self._say(str(error))
        await self._undo("incomplete")
        return Result.NONE if self._begun is None else Result.PARTIAL

    async def _first_whole(self) -> Result:
        candidates = await self._candidates()
        for number, one in enumerate(candidates):
            try:
                restored = await self._restore(one, has_older=number + 1 < len(candidates))
            except RestoreDamaged as damage:
                self._say(str(damage))
                await self._undo("damaged")
                if self._begun is not None:
                    return Result.PARTIAL
            except (IntegrityMismatch, ObjectMissing, FormatInvalid) as error:
                self._say(str(error))
            else:
                return self._result(one, restored)
        detail = "; ".join(self._home.said) or "no checkpoint of it is known"
        raise NotRestored("restore", f"job {self._job.start.id}", detail)

    def _say(self, sentence: str) -> None:
        self._home.said.append(sentence)

    async def _undo(self, tag: str) -> None:
        """Set aside what has been put in place: an unchanged job begins anew rather than with half of its files."""
        if self._begun is None or self._home.wish is Restore.FUZZY or not self._begun.may_go:
            return
        await blocking(self._writing, self._clear, self._begun, tag)
        self._begun = None

    async def _candidates(self) -> list[Candidate]:
        """Return what may be restored, the best first: whole ones before those that only `fuzzy` allows."""
        all_kept = [kept for kept in self._job.comment.of(self._job.rank) if kept.life < self._job.life]
        found = [one for kept in all_kept if (one := await self._candidate(kept)) is not None]
        exact = [one for one in found if is_exact(one.record) and not self._missing(one)]
        fuzzy = [one for one in found if one not in exact]
        if self._home.wish is Restore.FUZZY:
            return exact + fuzzy
        for one in fuzzy:
            lacks = f"nothing of ranks {self._missing(one)}" if self._missing(one) else "not all of its files at rest"
            self._say(f"{one.commit.head.checkpoint} has {lacks}")
        return exact

    def _missing(self, one: Candidate) -> list[int]:
        """Return the ranks of which the same life has left nothing."""
        kept = {other.rank for other in self._job.comment.kept if other.life == one.kept.life}
        return [rank for rank in range(one.record.nodes) if rank not in kept]

    async def _candidate(self, kept: Kept) -> Candidate | None:
        start, rank = self._job.start, self._job.rank
        try:
            commit = await load_head(self._store, self._prefix, kept.key)
        except PermanentError as error:
            self._say(str(error))
            return None
        if commit.digest != kept.digest:
            self._say(f"{kept.key} is not the head that was written: its digest is another")
            return None
        record = record_for(commit.head.jobs, job=start.id, uid=start.uid, life=kept.life, rank=rank)
        if record is None:
            self._say(f"{kept.key} does not hold this job")
            return None
        return Candidate(kept=kept, commit=commit, record=record)

    def _result(self, one: Candidate, restored: Restored) -> Result:
        is_newest = one.kept.life == self._job.life - 1 and one.kept == self._job.comment.of(self._job.rank)[0]
        checkpoint, node = one.commit.head.checkpoint, one.commit.head.node
        self._say(f"{restored.files} files, {restored.bytes} bytes of {checkpoint} of {node}")
        if restored.problem_count:
            self._say(f"{restored.problem_count} problems, the first: {restored.problems[0].detail}")
        is_whole = not restored.problem_count and not self._missing(one)
        return result(one.record, is_newest=is_newest, is_whole=is_whole)

    async def _restore(self, one: Candidate, *, has_older: bool) -> Restored:
        head = one.commit.head
        roots = [os.fsdecode(root) for root in head.roots]
        self._check(roots)
        own, is_by_path = await self._own(one)
        path = Path(roots[0] if len(roots) == 1 else "/")
        begun = _Begun(path=path, own=own, may_go=is_by_path or not self._job.has_company)
        if has_older:
            # Before anything is in place: what is restored of two checkpoints is neither.
            await self._verify(one)
        if begun.may_go and await self._is_in_the_way(one):
            await blocking(self._writing, self._clear, begun, f"before-life{self._job.life}")
        self.written = written_for(self._settings, path, head)
        restorer = Restorer(
            self._store,
            self._prefix,
            target=path,
            executor=self._writing,
            owner=True,
            connections=self._settings.s3.connections,
            written=self.written,
        )
        self._begun = begun
        return await restorer.restore(one.commit, own=own)

    def _check(self, roots: Iterable[str]) -> None:
        for root in roots:
            if root not in self._settings.scratch.paths:
                hint = "the node that saved it has other scratch.paths"
                raise NotRestored("restore below", root, "it is no scratch of this node", hint=hint)
            if self._settings.scratch.require_mount:
                require_mount(Path(root))

    async def _own(self, one: Candidate) -> tuple[Own, bool]:
        """Return what of a checkpoint is the job's, and whether that goes by its paths."""
        head = one.commit.head
        shared = {path: own_parts(path, self._settings.jobs.files) for path in one.record.paths}
        paths = [OwnPath(path=os.fsencode(path), shared=parts) for path, parts in shared.items() if parts]
        blobs = await load_segments(self._store, self._prefix, head, self._reading)
        found = await blocking(self._reading, _present, tree(head, blobs), head.roots, paths)
        if found:
            return Own(self._home.rights, head.roots, found), True
        if one.record.alone:
            return Own(self._home.rights, head.roots, ()), False
        hint = f"bring them back by hand: hpc-agent restore {head.checkpoint}"
        raise NotRestored("restore", f"job {self._job.start.id}", "nobody can tell which files are its", hint=hint)

    async def _verify(self, one: Candidate) -> None:
        verified = await verify(
            self._store,
            self._prefix,
            one.commit,
            executor=self._reading,
            connections=self._settings.s3.connections,
        )
        if verified.problem_count:
            first = verified.problems[0]
            raise IntegrityMismatch("verify", one.commit.head.checkpoint, f"{first.key}: {first.detail}")

    async def _is_in_the_way(self, one: Candidate) -> bool:
        """Tell whether files of an older life or of another rank may still be on this node."""
        head, start = one.commit.head, self._job.start
        was_here = start.node in {kept.node for kept in self._job.comment.kept}
        if not was_here and start.node not in await self._job.names(one.record.node_list):
            return False
        left_here = head.node == start.node and head.boot_id == BOOT_ID.read_text().strip()
        return not (left_here and one.kept.life == self._job.life - 1)

    def _clear(self, begun: "_Begun", tag: str) -> None:
        """Set aside what of the job is there, under a name that says why; nothing is deleted."""
        own = begun.own
        with closing(own.target(begun.path)) as target:
            for each in own.tops(target):
                if b".hpc-agent-" in each.path:
                    continue
                aside = set_aside(target, own, each, tag)
                if aside is not None:
                    self._say(f"set aside: {os.fsdecode(own.path_of(each))} as {os.fsdecode(aside)}")


def _present(lines: Iterable[Directory], roots: Sequence[bytes], paths: Sequence[OwnPath]) -> list[OwnPath]:
    """Return the paths of which a checkpoint has anything. Blocking."""
    missing, found = list(paths), []
    for line in lines:
        path = b"/".join(filter(None, (roots[line.root].rstrip(b"/"), line.path)))
        for own in [own for own in missing if own.holds(path)]:
            missing.remove(own)
            found.append(own)
        if not missing:
            break
    return found


def rights_of(uid: int) -> Rights:
    """Return a user's rights, blocking. Raises NotRestored for root and for a user that this node does not know."""
    try:
        user = pwd.getpwuid(uid)
    except KeyError as error:
        raise NotRestored("look up", f"uid {uid}", "no such user on this node") from error
    if uid == 0:
        raise NotRestored("restore for", user.pw_name, "the files of root come back by hand only")
    return Rights(uid=uid, gid=user.pw_gid, gids=frozenset(os.getgrouplist(user.pw_name, user.pw_gid)))
