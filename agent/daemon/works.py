"""What each piece of work does to the world. Nothing is decided here but how often to try again."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final, TypeVar

from agent.chance import Chance
from agent.checkpoint.keys import begun_key, outcome_key
from agent.clock import Clock
from agent.copier.protocol import Committed, Message, Record, Save, Scan, Scanned, Waiting
from agent.daemon.copier import Copier, CopierRefused, Listener
from agent.daemon.jobwork import LAST_WORD, JobWork, job_documents
from agent.daemon.leading import Leading
from agent.daemon.records import begun_document, outcome_document
from agent.daemon.rescued import Rescued
from agent.daemon.runner import Performer, Tell
from agent.daemon.whoami import Whoami
from agent.errors import AgentError, PermanentError, TransientError
from agent.evacuation.plan import plan
from agent.evacuation.record import notice_document, saved_of
from agent.evacuation.state import Evacuation, Saved
from agent.evacuation.work import Work
from agent.model.checkpoint import CheckpointId
from agent.model.drain import Drain, NodeState
from agent.model.node import Node
from agent.slurm.errors import SlurmRefused
from agent.slurm.hold import Hold
from agent.slurm.node import SlurmNode
from agent.slurm.reason import Reason, boot_of

COMMIT_EVERY: Final = 4.0
"""Seconds between heads while copying: what S3 acknowledged 5 s before a cut is restorable (P3)."""

DELTA_COMMIT_EVERY: Final = 3600.0
"""Seconds between heads of the last delta: its only head is the last, so that none is newer and knows less."""

LEAST_MOVE: Final = 0.5
"""Seconds that a deadline must move for a copier to be told."""

LOOK_EVERY: Final = 5.0
LOOK_SHARE: Final = 0.1
"""Seconds between looks at what changes after the first copy; of a large tree, the share of the time they take."""

T = TypeVar("T")

HOLDING: Final = 3.0
"""Seconds after the notice by which a node is drained, held or not (P1)."""

LETTING_GO: Final = 2.0
"""Seconds for giving a hold back: nothing waits for longer for it."""

POINTER_SECONDS: Final = 5.0
"""Seconds for the notes for people which head holds whose files, beside the requeues."""

WORD_KEPT: Final = 1.0
"""Seconds before the end of the commit at which Slurm is asked no more to vouch: what failed has to be told."""

REQUEUE_KEPT: Final = 2.0
"""Seconds kept for handing jobs back without Slurm's word, before those for the record."""

PAUSE: Final = (0.25, 2.0)
"""Seconds between two tries of a drain: the first pause and the longest. A scontrol that fails has waited itself."""


class CopyFellShort(PermanentError):
    """Everything that could be copied was; this could not."""


class JobsUnknown(PermanentError):
    """All that could be saved was; not every job will find it again."""


class StillRefused(TransientError):
    """The copier can't do what it was asked; the deadline comes anyway, so trying again costs nothing."""


class Unheard(TransientError):
    """Our drain stands, and whether its notice still does is not known (P5)."""


class Works:
    """The performers of one daemon. `moved` sees every message of the copier; `heard` tells whether each source of
    notices has answered since the start; `cannot_save` says why nothing can be saved, else None. `leading`
    saves ahead, `rescued` are the files of jobs, `current` is the state as it is now. `measured` takes what has changed
    since the first copy. `hold` keeps an idle node that `may_lose` files; None where the operator wants none of it.
    """

    def __init__(
        self,
        *,
        whoami: Whoami,
        copier: Copier,
        leading: Leading,
        moved: Listener,
        heard: Callable[[], bool],
        receipts: Callable[[CheckpointId], str],
        terms: Callable[[], Mapping[str, Any]],
        safety_margin: float,
        cannot_save: Callable[[], Awaitable[PermanentError | None]],
        clock: Clock,
        chance: Chance,
        jobs: JobWork,
        rescued: Rescued,
        current: Callable[[], Evacuation],
        measured: Callable[[Scanned], None],
        hold: Callable[[SlurmNode], Hold] | None,
        may_lose: Callable[[], bool],
    ) -> None:
        self._whoami = whoami
        self._copier = copier
        self._leading = leading
        self._moved = moved
        self._heard = heard
        self._receipts = receipts
        self._terms = terms
        self._safety_margin = safety_margin
        self._cannot_save = cannot_save
        self._clock = clock
        self._chance = chance
        self._jobs = jobs
        self._rescued = rescued
        self._current = current
        self._measured = measured
        self._hold = hold
        self._may_lose = may_lose
        self._is_held = False
        # A cancelled piece of work may still be ending when the next one begins.
        self._slurm_turn = asyncio.Lock()
        self._copy_until: float | None = None
        self._copier_turn = asyncio.Lock()

    @property
    def performers(self) -> Mapping[Work, Performer]:
        return {
            Work.DRAIN: self.drain,
            Work.COPY: self.copy,
            Work.COMMIT: self.commit,
            Work.RELEASE: self.release,
            Work.LIFT: self.lift,
            Work.LEAD: self.lead,
            Work.JOBS: self._jobs.look,
            Work.MEASURE: self.measure,
            Work.STOP: self._jobs.stop,
            Work.DELTA: self.delta,
        }

    def follow(self, state: Evacuation) -> None:
        """Have a copy that is under way end by the deadline that rules now: it may have moved."""
        until = self._until(state)
        if self._copy_until is not None and until is not None and abs(until - self._copy_until) >= LEAST_MOVE:
            self._copier.move(until)
            self._copy_until = until

    def _until(self, state: Evacuation) -> float | None:
        times = plan(state, safety_margin=self._safety_margin)
        return None if times is None else times.copy_until

    async def drain(self, state: Evacuation, tell: Tell) -> None:
        """Drain our node, for as long as it takes."""
        slurm, ruling = await self._whoami.slurm_node(), state.ruling
        if slurm is None or ruling is None:
            return
        if not state.effects.drain:
            tell.withheld(f"node {slurm.name} would have been drained: {ruling.kind}")
            return

        me = self._whoami
        reason = Reason(kind=ruling.kind, instance_id=me.instance_id, boot=boot_of(me.boot_id), until=ruling.ends_at)

        async def hold(idle: NodeState) -> None:
            await self._take(slurm, idle, state, tell)

        async def once() -> None:
            tell.drained(await slurm.drain(reason, hold=hold))

        async with self._slurm_turn:
            await self._until_done(once, tell)

    async def _take(self, slurm: SlurmNode, idle: NodeState, state: Evacuation, tell: Tell) -> None:
        """Have the node, which runs nothing, not taken before its files are saved; it is drained in any case."""
        times = plan(state, safety_margin=self._safety_margin)
        if self._hold is None or times is None or state.began is None or not (state.saves and self._may_lose()):
            return
        minutes = 1 + math.ceil((times.release_until - state.began) / 60)
        try:
            async with asyncio.timeout_at(state.began + HOLDING):
                self._is_held = True
                await self._hold(slurm).begin(idle, minutes=minutes)
        except AgentError as error:
            self._is_held = False
            tell.troubled(error)
        except TimeoutError:
            tell.waiting("the node is not held while it is saved: Slurm did not answer in time")

    async def _let_go(self, slurm: SlurmNode | None, state: Evacuation, tell: Tell) -> None:
        """Give the node back, if it is held. Tried once, for a moment: it ends by itself after the deadline."""
        if slurm is None or self._hold is None or not state.effects.drain:
            return
        self._is_held = False
        try:
            async with asyncio.timeout(LETTING_GO):
                await self._hold(slurm).end()
        except SlurmRefused:  # there is nothing to end
            return
        except AgentError as error:
            tell.troubled(error)
        except TimeoutError:
            tell.waiting("the node is still held: Slurm did not answer in time")

    async def lift(self, state: Evacuation, tell: Tell) -> None:
        """Lift a drain that is ours or our dead predecessor's; leave anyone else's."""
        async with self._copier_turn:
            await self._copier.end()
        await self._jobs.thaw(state, tell)
        slurm, me = await self._whoami.slurm_node(), self._whoami
        if slurm is None:
            return
        if not state.effects.drain:
            tell.withheld(f"a drain of ours on node {slurm.name} would have been lifted, if there is one")
            return

        async def once() -> None:
            # An evacuation returns because its own notices are over; only a drain that an earlier life left may have
            # one that has not been heard of yet.
            live = False if state.began is not None or self._heard() else None
            drain = await slurm.lift(instance_id=me.instance_id, boot_id=me.boot_id, has_live_notice=live)
            if drain is Drain.OURS:
                raise Unheard("lift", f"our drain of {slurm.name}", "not every source of notices has been heard yet")
            tell.drained(drain)

        async with self._slurm_turn:
            await self._until_done(once, tell)
        if state.began is not None:  # now that Slurm answers
            await self._let_go(slurm, state, tell)

    async def copy(self, state: Evacuation, tell: Tell) -> None:
        """Copy the scratch to S3; a copier that dies is started again and goes on from its receipts.

        While jobs run that are stopped later, what is there is committed before they are waited for.
        """
        trouble = await self._copy(state, tell, commit_every=COMMIT_EVERY)
        if self._current().stops and await self._may_save(state):
            await self._finish(tell)
        now = self._current()
        if now.jobs and not now.stops:  # else none is known, or Slurm is asked again before the last delta
            _raise(trouble)

    async def delta(self, state: Evacuation, tell: Tell) -> None:
        """Copy what has changed since it was copied."""
        _raise(await self._copy(state, tell, commit_every=DELTA_COMMIT_EVERY))

    async def measure(self, _state: Evacuation, tell: Tell) -> None:
        """Look what has changed since the first copy, again and again: what stopping the jobs has to leave time for."""
        pause = LOOK_EVERY
        while True:
            await asyncio.sleep(pause)
            if not self._terms()["cache"]:  # the copier would know of no head: all would seem to have changed
                continue
            with contextlib.suppress(AgentError):  # the plan stands; what ails the disk or S3, the last delta tells
                async with self._copier_turn:
                    found = await self._copier.scan(Scan(**self._terms()), self._listener(tell))
                self._measured(found)
                pause = max(LOOK_EVERY, found.seconds / LOOK_SHARE)

    async def _copy(self, state: Evacuation, tell: Tell, *, commit_every: float) -> list[str]:
        """Copy; return why jobs may not find the files again, as sentences."""
        if not state.saves:
            return []
        if not state.effects.save:
            tell.withheld("the scratch would have been saved")
            return []
        if (reason := await self._cannot_save()) is not None:
            raise reason
        assert state.checkpoint is not None
        node = await self._whoami.node()
        records, trouble = await self._rescued.look(state, until=self._until(state))
        command = Save(
            checkpoint=state.checkpoint,
            reason="evacuation",
            node=asdict(node),
            notice=None if state.ruling is None else notice_document(state.ruling),
            commit_every=commit_every,
            receipts=self._receipts(state.checkpoint),
            begun={"name": begun_key(**_place(state, node)), "document": begun_document(state, node)},
            jobs=[record.document() for record in records],
            **self._terms(),
        )

        async def once() -> None:
            self._copy_until = until = self._until(self._current())
            timed = replace(command, until=until)
            copied = await self._asking(self._copier.save(timed, self._listener(tell)))
            if copied.trouble:
                raise CopyFellShort("copy", "the scratch", "; ".join(copied.trouble))

        await self._leading.make_way()
        async with self._copier_turn:
            await self._until_done(once, tell)
        return trouble

    async def commit(self, state: Evacuation, tell: Tell) -> None:
        """Write the last head, and have Slurm vouch for it before any job is let go; what failed is done again then."""
        if not await self._may_save(state):
            return
        saved, times = await self._finish(tell), plan(state, safety_margin=self._safety_margin)
        if times is None or not state.effects.requeue:
            return
        if trouble := await self._rescued.vouch(state, saved, until=times.commit_until - WORD_KEPT):
            tell.waiting("; ".join(trouble))

    async def _vouch_again(self, state: Evacuation) -> list[str]:
        """Have Slurm's word stand when the jobs are let go: it may have been silent, or another's word stood over it.

        Return what went wrong, as sentences.
        """
        times = plan(state, safety_margin=self._safety_margin)
        if state.saved is None or times is None or not state.effects.requeue:
            return []
        return await self._rescued.vouch(state, state.saved, until=times.release_until - LAST_WORD - REQUEUE_KEPT)

    async def _finish(self, tell: Tell) -> Saved:
        async with self._copier_turn:
            answer = await self._copier.finish(self._listener(tell))
        saved = saved_of(dict(answer.saved))
        tell.committed(saved)
        return saved

    async def release(self, state: Evacuation, tell: Tell) -> None:
        """Hand back the jobs, store the outcome, and let the copier go."""
        async with self._copier_turn:
            try:
                async with asyncio.TaskGroup() as crew:
                    notes = crew.create_task(self._store_pointers(state, tell), name="job pointers")
                    trouble = await self._vouch_again(state)
                    jobs = await self._jobs.hand_back(state, tell)
                trouble += notes.result()
                if await self._may_save(state):
                    await self._store_outcome(state, job_documents(jobs), trouble, tell)
            finally:
                await self._copier.end()
        if self._is_held:
            await self._let_go(await self._whoami.slurm_node(), state, tell)
        _raise(trouble)

    async def _store_pointers(self, state: Evacuation, tell: Tell) -> list[str]:
        """Store the notes for people; return what went wrong, as sentences."""
        if not (state.effects.requeue and await self._may_save(state)):
            return []
        try:
            async with asyncio.timeout(POINTER_SECONDS):
                for record in self._rescued.pointers(state, await self._whoami.node()):
                    await self._copier.record(record, self._listener(tell))
        except AgentError as error:
            return [f"the notes which head holds whose files are not all stored: {error}"]
        except TimeoutError:
            await self._copier.end()  # its late answer would be taken for that to the next question
            return [f"the notes which head holds whose files were not stored within {POINTER_SECONDS:g} s"]
        return []

    async def lead(self, state: Evacuation, tell: Tell) -> None:
        """Save ahead, behind everything else on the node; an evacuation ends it."""
        if not state.effects.save:
            tell.withheld("the scratch would have been saved ahead")
            return
        if (reason := await self._cannot_save()) is not None:
            raise reason
        await self._leading.save_for(min(state.leading, key=lambda notice: (notice.due, notice.id)))

    async def _may_save(self, state: Evacuation) -> bool:
        return state.saves and state.effects.save and await self._cannot_save() is None

    async def _store_outcome(
        self, state: Evacuation, jobs: Sequence[Mapping[str, Any]], trouble: Sequence[str], tell: Tell
    ) -> None:
        node = await self._whoami.node()
        ended_at, now = self._clock.now(), asyncio.get_running_loop().time()
        document = outcome_document(state, node, ended_at=ended_at, now=now, jobs=jobs, trouble=trouble)
        record = Record(name=outcome_key(**_place(state, node)), document=document)
        await self._until_done(lambda: self._asking(self._copier.record(record, self._listener(tell))), tell)

    async def _asking(self, answer: Awaitable[T]) -> T:
        """Return `answer`; what S3 refuses now is asked for again: rights can be mended while there is time."""
        try:
            return await answer
        except CopierRefused as error:
            raise StillRefused(error.op, error.subject, error.detail, hint=error.hint) from error

    async def _until_done(self, once: Callable[[], Awaitable[None]], tell: Tell) -> None:
        """Do `once` again after what is transient, until the runner cancels."""
        pause, longest = PAUSE
        while True:
            try:
                await once()
            except TransientError as error:
                tell.troubled(error)
            else:
                return
            await asyncio.sleep(pause * (0.5 + self._chance.fraction() / 2))
            pause = min(2 * pause, longest)

    def _listener(self, tell: Tell) -> Listener:
        def listen(message: Message) -> None:
            self._moved(message)
            match message:
                case Committed():
                    tell.committed(saved_of(dict(message.saved)))
                case Waiting():
                    tell.waiting(message.what, message.hint)

        return listen


def _raise(trouble: Sequence[str]) -> None:
    if trouble:
        raise JobsUnknown("save", "the files of jobs", "; ".join(trouble))


def _place(state: Evacuation, node: Node) -> Any:
    """Return where the records of this evacuation are."""
    return {"cluster": node.cluster, "writer": node.writer, "at": state.began_at}
