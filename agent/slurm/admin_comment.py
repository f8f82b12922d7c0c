"""The job's AdminComment: what a job's next life has to trust, because only root can write it.

`hpc-agent:1 requeue=<life>/<node>/<instance> head=<life>/<rank>/<key>/<sha256> ...`, after whatever else stands there;
`<key>` is that of a head without `checkpoints/` and `.json`. The object store is written to by every node of the
cluster: a head counts for a job only when its digest stands here.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol, Self

from agent.chance import Chance
from agent.slurm.errors import SlurmRefused, SlurmUnavailable
from agent.value import value

LONGEST: Final = 60_000
"""Characters, enough for some 250 ranks. A child's argument can have 128 KiB; Slurm 22.05 took 120,000 (measured)."""

CHECKPOINTS: Final = 3
"""Of one rank: the newest, and what there is to fall back on when that does not verify."""

TRIES: Final = 12
SETTLING: Final = 0.3
"""Seconds until a write is read back, beside those that our own reading and writing took. Slurm has no compare-and-set:
who read before we wrote has written by then, on a busy machine as well."""

_MARK: Final = "hpc-agent:1"
_BEGIN: Final = re.compile(rf"(?:^|\s){_MARK}(?=\s|$)", re.ASCII)
_NUMBER: Final = r"(?:0|[1-9]\d{0,8})"
_NAME: Final = r"[A-Za-z0-9._-]{1,128}"
_CLAIM: Final = re.compile(rf"requeue=(?P<life>{_NUMBER})/(?P<node>{_NAME})/(?P<instance>{_NAME})", re.ASCII)
_HEAD: Final = re.compile(
    rf"head=(?P<life>{_NUMBER})/(?P<rank>{_NUMBER})/"
    rf"(?P<key>{_NAME}/{_NAME}/[A-Za-z0-9_+=,.@:-]{{1,256}}/[0-9TZ.]+-[0-9a-f]{{8}}\.[1-9]\d{{0,17}})/"
    r"(?P<digest>[0-9a-f]{64})",
    re.ASCII,
)
_WIDTHS: Final = (16, 24, 65536)
_COLUMNS: Final = "restartcnt:{},state:{},admin_comment:{}".format(*_WIDTHS)
_BETWEEN_LIVES: Final = frozenset({"PENDING", "COMPLETING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"})
_GONE: Final = "Invalid job id specified"


@value
class Claim:
    """Who requeues the job, of all the nodes that it ran on in this life."""

    life: int
    node: str
    instance_id: str

    def __str__(self) -> str:
        return f"requeue={self.life}/{self.node}/{self.instance_id or '-'}"


@value
class Kept:
    """A head that holds the files of one rank (a node of the job, counted from 0) as one life of the job left them."""

    life: int
    rank: int
    key: str
    digest: str

    @property
    def checkpoint(self) -> str:
        return self.key.rpartition("/")[2].rpartition(".json")[0].rpartition(".")[0]

    @property
    def node(self) -> str:
        """The node that has written it."""
        return self.key.split("/")[2]

    @property
    def age(self) -> tuple[int, str, int]:
        """What sorts heads by when they were made."""
        return self.life, self.checkpoint, int(self.key.removesuffix(".json").rpartition(".")[2])

    def __str__(self) -> str:
        key = self.key.removeprefix("checkpoints/").removesuffix(".json")
        return f"head={self.life}/{self.rank}/{key}/{self.digest}"


@value
class AdminComment:
    """What stands in an AdminComment: `before` is others' text and stays; `kept` is sorted, the newest first."""

    before: str = ""
    claim: Claim | None = None
    kept: tuple[Kept, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an AdminComment; what is not ours to the letter stays as text."""
        begin = _BEGIN.search(text)
        if begin is None:
            return cls(before=text.strip())
        claim, kept, others = None, [], [text[: begin.start()].strip()]
        for token in text[begin.end() :].split():
            if match := _CLAIM.fullmatch(token):
                instance = "" if match["instance"] == "-" else match["instance"]
                claim = Claim(life=int(match["life"]), node=match["node"], instance_id=instance)
            elif match := _HEAD.fullmatch(token):
                key = f"checkpoints/{match['key']}.json"
                kept.append(Kept(life=int(match["life"]), rank=int(match["rank"]), key=key, digest=match["digest"]))
            else:
                others.append(token)
        return cls(before=" ".join(filter(None, others)), claim=claim, kept=_newest_first(kept))

    def __str__(self) -> str:
        ours = [str(one) for one in (self.claim, *self.kept) if one is not None]
        return " ".join(filter(None, (self.before, *([_MARK, *ours] if ours else []))))

    def claimed(self, claim: Claim) -> Self:
        """Return this with `claim`, unless one of the same life or a later one stands."""
        if self.claim is not None and self.claim.life >= claim.life:
            return self
        return replace(self, claim=claim)

    def keeping(self, kept: Kept) -> Self:
        """Return this with `kept`, the newest commit of its checkpoint, unless a later life has left something.

        What is too old or too much is dropped. Raises ValueError for a head that could not be read back.
        """
        if not _HEAD.fullmatch(str(kept)):
            raise ValueError(f"not a head that could be read back: {kept}")
        if any(one.life > kept.life for one in self.kept):
            return self
        like = [one for one in self.kept if (one.rank, one.checkpoint) == (kept.rank, kept.checkpoint)]
        if any(one.age >= kept.age for one in like):
            return self
        of_rank = _newest_first([kept, *(one for one in self.kept if one.rank == kept.rank and one not in like)])
        others = [one for one in self.kept if one.rank != kept.rank]
        heads = list(_newest_first([*of_rank[:CHECKPOINTS], *others]))
        made = replace(self, kept=tuple(heads))
        while len(str(made)) > LONGEST and len(heads) > 1:
            heads.remove(next(one for one in reversed(heads) if one != kept))
            made = replace(self, kept=tuple(heads))
        return made

    def of(self, rank: int) -> tuple[Kept, ...]:
        """Return what is kept of a rank, the newest first."""
        return tuple(one for one in self.kept if one.rank == rank)


@value
class Standing:
    """A job as it stands: `restarts` how often it was requeued so far, `state` one of Slurm's words."""

    restarts: int
    state: str
    comment: AdminComment

    def is_past(self, life: int) -> bool:
        """Tell whether a later life of the job has begun: what `life` left can't be added to any more."""
        return self.restarts > life + 1 or (self.restarts > life and self.state not in _BETWEEN_LIVES)


class Program(Protocol):
    async def run(self, *arguments: str) -> str:
        """Run one of Slurm's programs. Raises SlurmUnavailable, SlurmRefused."""
        ...


class AdminComments:
    """Reads and changes AdminComments. Several agents may do so at once: each change is read back until it stands.

    A job is told by its number, the task of an array as `<array>_<task>`.
    """

    def __init__(self, *, squeue: Program, scontrol: Program, chance: Chance) -> None:
        self._squeue = squeue
        self._scontrol = scontrol
        self._chance = chance

    async def read(self, job: str) -> Standing | None:
        """Return how a job stands; None when Slurm does not know it. Raises SlurmUnavailable, SlurmRefused.

        squeue is asked for these fields alone: in a job's whole record a user's comment could pass for an AdminComment.
        """
        try:
            text = await self._squeue.run("-h", "-j", job, "-O", _COLUMNS)
        except (SlurmUnavailable, SlurmRefused) as error:
            if _GONE in error.detail:
                return None
            raise
        return _standing(text, job) if text.strip() else None

    async def claim(self, job: str, claim: Claim) -> Claim | None:
        """Be the one who requeues the job, or learn who is; None when the job is gone or its next life has begun.

        Raises SlurmUnavailable, SlurmRefused.
        """
        standing = await self._change(job, claim.life, lambda comment: comment.claimed(claim))
        return None if standing is None or standing.is_past(claim.life) else standing.comment.claim

    async def keep(self, job: str, kept: Kept) -> bool:
        """Have `kept` stand; False when it does not and it is too late: the job is gone or its next life has begun.

        Raises SlurmUnavailable, SlurmRefused.
        """
        standing = await self._change(job, kept.life, lambda comment: comment.keeping(kept))
        return standing is not None and kept in standing.comment.kept

    async def _change(self, job: str, life: int, change: Callable[[AdminComment], AdminComment]) -> Standing | None:
        now = asyncio.get_running_loop().time
        for attempt in range(TRIES):
            began, standing = now(), await self.read(job)
            wanted = None if standing is None else change(standing.comment)
            if standing is None or wanted == standing.comment:
                return standing
            if standing.is_past(life):
                return None
            await self._scontrol.run("update", f"JobId={job}", f"AdminComment={wanted}")
            # The more often others wrote over us, the further apart we have to be.
            await asyncio.sleep((SETTLING + now() - began) * (1 + attempt * self._chance.fraction()))
        raise SlurmUnavailable("mark", f"job {job}", "its AdminComment is changed by others all the time")


def _standing(text: str, job: str) -> Standing:
    restarts, state = (text[start:end].strip() for start, end in ((0, _WIDTHS[0]), (_WIDTHS[0], sum(_WIDTHS[:2]))))
    comment = text[sum(_WIDTHS[:2]) :].strip()
    if not restarts.isdigit() or not state or "\n" in text[sum(_WIDTHS) :].strip("\n"):
        raise SlurmUnavailable("read", f"job {job}", f"squeue printed {text[:60].rstrip()!r}")
    return Standing(
        restarts=int(restarts), state=state, comment=AdminComment.parse("" if comment == "(null)" else comment)
    )


def _newest_first(kept: list[Kept]) -> tuple[Kept, ...]:
    return tuple(sorted(kept, key=lambda one: (one.age, -one.rank), reverse=True))
