"""A job's files, brought back: from the head that Slurm's own record of the job vouches for, as the job's user."""

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
from agent.checkpoint.own import Own, OwnPath, OwnTarget, set_aside
from agent.checkpoint.placing import NoRoom
from agent.checkpoint.restore import RestoreDamaged, Restorer
from agent.checkpoint.rights import Rights
from agent.checkpoint.tally import Restored
from agent.checkpoint.together import blocking
from agent.checkpoint.verify import verify
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

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class NotRestored(PermanentError):
    """Nothing of the job's can be brought back."""


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A head that may be restored: its digest is the one that stands in Slurm."""

    kept: Kept
    commit: Commit
    record: JobRecord


@dataclass(slots=True)
class Homecoming:
    """One restore. `said` is what there is to tell about it, `touched` whether anything was put in place."""

    job: Rank
    settings: Settings
    wish: Restore
    rights: Rights
    said: list[str] = field(default_factory=list)
    touched: bool = False

    async def run(self) -> Result:
        """Restore the newest head that can be. Raises AgentError when there is none, or the store can't be reached."""
        at = place(None, self.settings)
        workers = self.settings.s3.connections + 4
        with (
            ThreadPoolExecutor(2, thread_name_prefix="reading") as reading,
            # Whatever touches the disk has the rights of the job's user, and no more.
            ThreadPoolExecutor(workers, thread_name_prefix="restoring", initializer=self.rights.take) as writing,
        ):
            async with opened(at, self.settings, lambda _: None) as store:
                work = _Work(self, store, at.prefix, reading, writing)
                return await work.run(await work.candidates())


class _Work:
    def __init__(self, home: Homecoming, store: ObjectStore, prefix: str, reading: Executor, writing: Executor) -> None:
        self._home = home
        self._job = home.job
        self._settings = home.settings
        self._store = store
        self._prefix = prefix
        self._reading = reading
        self._writing = writing

    async def candidates(self) -> list[Candidate]:
        """Return what may be restored, the best first: whole ones before those that only `fuzzy` allows."""
        all_kept = [kept for kept in self._job.comment.of(self._job.rank) if kept.life < self._job.life]
        found = [one for kept in all_kept if (one := await self._candidate(kept)) is not None]
        exact = [one for one in found if is_exact(one.record)]
        fuzzy = [one for one in found if not is_exact(one.record)]
        if self._home.wish is Restore.FUZZY:
            return exact + fuzzy
        self._home.said += [f"{one.commit.head.checkpoint} has not all of its files at rest" for one in fuzzy]
        return exact

    async def _candidate(self, kept: Kept) -> Candidate | None:
        start, rank = self._job.start, self._job.rank
        try:
            commit = await load_head(self._store, self._prefix, kept.key)
        except PermanentError as error:
            self._home.said.append(str(error))
            return None
        if commit.digest != kept.digest:
            self._home.said.append(f"{kept.key} is not the head that was written: its digest is another")
            return None
        record = record_for(commit.head.jobs, job=start.id, uid=start.uid, life=kept.life, rank=rank)
        if record is None:
            self._home.said.append(f"{kept.key} does not hold this job")
            return None
        return Candidate(kept=kept, commit=commit, record=record)

    async def run(self, candidates: Sequence[Candidate]) -> Result:
        for number, one in enumerate(candidates):
            try:
                restored = await self._restore(one, has_older=number + 1 < len(candidates))
            except (IntegrityMismatch, ObjectMissing, FormatInvalid) as error:
                self._home.said.append(str(error))
                continue
            return self._result(one, restored)
        said = "; ".join(self._home.said) or "no checkpoint of it is known"
        raise NotRestored("restore", f"job {self._job.start.ref}", said)

    def _result(self, one: Candidate, restored: Restored) -> Result:
        is_newest = one.kept.life == self._job.life - 1 and one.kept == self._job.comment.of(self._job.rank)[0]
        missing = [
            rank
            for rank in range(one.record.nodes)
            if not any(other.life == one.kept.life for other in self._job.comment.of(rank))
        ]
        if missing:
            self._home.said.append(f"the files of ranks {', '.join(map(str, missing))} were not saved")
        checkpoint, node = one.commit.head.checkpoint, one.commit.head.node
        self._home.said.append(f"{restored.files} files, {restored.bytes} bytes of {checkpoint} of {node}")
        if restored.problem_count:
            self._home.said.append(f"{restored.problem_count} problems, the first: {restored.problems[0].detail}")
        is_whole = not missing and not restored.problem_count
        return result(one.record, is_newest=is_newest, is_whole=is_whole)

    async def _restore(self, one: Candidate, *, has_older: bool) -> Restored:
        head = one.commit.head
        roots = [os.fsdecode(root) for root in head.roots]
        self._check(roots)
        own, is_by_path = await self._own(one)
        path = Path(roots[0] if len(roots) == 1 else "/")
        if has_older:
            # Before anything is in place: what is restored of two checkpoints is neither.
            await self._verify(one)
        if await self._is_in_the_way(one, is_by_path=is_by_path):
            await blocking(self._writing, self._clear, path, one, own, f"before-life{self._job.life}")
        restorer = Restorer(
            self._store,
            self._prefix,
            target=path,
            executor=self._writing,
            owner=True,
            connections=self._settings.s3.connections,
        )
        self._home.touched = True
        try:
            return await restorer.restore(one.commit, own=own)
        except RestoreDamaged as damage:
            if has_older and (is_by_path or not self._job.has_company):
                await blocking(self._writing, self._clear, path, one, own, "damaged")
                raise
            self._home.said.append(str(damage))
            return damage.restored
        except NoRoom as error:
            self._home.said.append(str(error))
            return Restored(problem_count=1)

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
        raise NotRestored("restore", f"job {self._job.start.ref}", "nobody can tell which files are its", hint=hint)

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

    async def _is_in_the_way(self, one: Candidate, *, is_by_path: bool) -> bool:
        """Tell whether files of an older life or of another rank may still be on this node."""
        head, start = one.commit.head, self._job.start
        was_here = start.node in {kept.node for kept in self._job.comment.kept}
        if not was_here and start.node not in await self._job.names(one.record.node_list):
            return False
        left_here = head.node == start.node and head.boot_id == BOOT_ID.read_text().strip()
        if left_here and one.kept.life == self._job.life - 1:
            return False
        return is_by_path or not self._job.has_company

    def _clear(self, path: Path, one: Candidate, own: Own, tag: str) -> None:
        """Set aside what is in the way, under a name that says whose it was; nothing is deleted."""
        with closing(OwnTarget(path, one.commit.head.roots, own)) as target:
            for each in own.tops(target):
                if b".hpc-agent-" in each.path:
                    continue
                aside = set_aside(target, own, each, tag)
                if aside is not None:
                    self._home.said.append(f"set aside: {os.fsdecode(own.path_of(each))} as {os.fsdecode(aside)}")


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
