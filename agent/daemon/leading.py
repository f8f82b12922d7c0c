"""Saving ahead of a notice: does what `agent.evacuation.lead` decides, and gives way to everything else."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Final

from agent.clock import Clock
from agent.copier.protocol import Committed, Message, Moved, Save, Scan
from agent.daemon.allowance import Allowance
from agent.daemon.copier import Copier, Listener
from agent.daemon.saving import Saving
from agent.daemon.whoami import Whoami
from agent.errors import AgentError, PermanentError
from agent.evacuation import lead
from agent.evacuation.estimate import Look
from agent.evacuation.record import notice_document, saved_of
from agent.evacuation.state import Trouble
from agent.model.checkpoint import CheckpointId
from agent.model.notice import Notice
from agent.settings import Settings
from agent.settings.units import parse_duration, parse_size
from agent.value import value

logger = logging.getLogger(__name__)

TICK: Final = 2.0
"""Seconds between two decisions, which cost nothing."""

COMMIT_EVERY: Final = 10.0
"""Seconds between heads: what a pass has sent since the last one is sent again when a notice cuts it."""

COUNT_LAYERS_EVERY: Final = 6 * 3600.0
"""Seconds: container layers have as many files as they like, and nobody waits for the number."""

ENDING: Final = 3.0
"""Seconds for a pass that was cut to be gone: its copier is killed, more means that a disk is dead."""

PAUSE: Final = (60.0, 3600.0)
"""Seconds after a failure: the first and the longest."""


@value
class Place:
    """What of the node matters: `block_taken_at` None is no Capacity Block. `may_save`: the mode allows it."""

    is_free: bool
    is_spot: bool
    block_taken_at: datetime | None
    has_jobs: bool
    may_save: bool


class Leading:
    """Saves ahead with `copier`, which is its own. `refusal` says why nothing can be saved now, else None."""

    def __init__(
        self,
        settings: Settings,
        *,
        copier: Copier,
        whoami: Whoami,
        saving: Saving,
        allowance: Allowance,
        place: Callable[[], Place],
        refusal: Callable[[], Awaitable[PermanentError | None]],
        fresh: Callable[[], CheckpointId],
        moved: Listener,
        clock: Clock,
    ) -> None:
        self._rules = rules_of(settings)
        limit = settings.checkpoint.bandwidth_limit
        self._bytes_per_second = int(parse_size(limit)) if limit else None
        self._copier = copier
        self._whoami = whoami
        self._saving = saving
        self._allowance = allowance
        self._place = place
        self._refusal = refusal
        self._fresh = fresh
        self._moved = moved
        self._clock = clock
        self._turn = asyncio.Lock()
        self._cut: asyncio.Timeout | None = None
        self._sent = 0
        self._jobs_at = float("-inf")
        self._whole_at = asyncio.get_running_loop().time()
        self._again_at = float("-inf")
        self._pause = PAUSE[0]
        self._counted_at = float("-inf")
        self.why = "it has just begun"
        """Why nothing is done, or what is done, for people."""
        self.trouble: Trouble | None = None
        self.cpu_seconds = 0.0
        """What looks at the tree have cost since the agent began."""

    async def run(self) -> None:
        """Decide and do, until cancelled."""
        while True:
            if not await self.step():
                await asyncio.sleep(TICK)

    async def step(self) -> bool:
        """Do what is to be done now, if anything, and return whether there was. May be cut by `give_way`."""
        async with self._turn:
            decision = self._decide_now()
            if isinstance(decision, lead.Rest):
                self.why = decision.why
                return False
            if (reason := await self._refusal()) is not None:
                self.why = f"{reason.subject}: {reason.detail}"
                return False
            async with self._cuttable():
                await self._do(decision)
                if isinstance(decision, lead.Scan) and isinstance(found := self._decide_now(), lead.Pass):
                    await self._do(found)  # by the same copier: its start is most of what a look costs
            return True

    async def save_for(self, notice: Notice) -> None:
        """Save all of it now, because of a notice that is not acted on otherwise. Raises CopierGone, CopierRefused."""
        async with self._turn:
            try:
                await self._send(lead.Pass(why=str(notice.kind), most_bytes=None, quiet=0.0), notice)
            finally:
                await self._copier.end()

    def give_way(self) -> None:
        """End what is under way at once: what it has committed counts, the rest is sent again."""
        cut, self._cut = self._cut, None
        if cut is not None:
            cut.reschedule(float("-inf"))

    async def make_way(self) -> None:
        """Give way, and return when the copier is gone; a rescue waits no longer than ENDING."""
        self.give_way()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ENDING), self._turn:
                pass

    def _decide_now(self) -> lead.Decision:
        now, place = asyncio.get_running_loop().time(), self._place()
        if place.has_jobs:
            self._jobs_at = now
        if not place.is_free:
            return lead.Rest(why="something else is going on")
        if now < self._again_at:
            return lead.Rest(why="it failed a short while ago")
        decision = lead.decide(self._rules, self._known(place, now), now)
        if isinstance(decision, lead.Pass) and not place.may_save:
            return lead.Rest(why=f"the mode does not allow it; {decision.why}")
        return decision

    def _known(self, place: Place, now: float) -> lead.Known:
        wall, head_at = self._clock.now(), self._allowance.head_at
        taken_at = place.block_taken_at
        return lead.Known(
            is_spot=place.is_spot,
            block_taken_in=None if taken_at is None else (taken_at - wall).total_seconds(),
            used=self._saving.used,
            rate=self._saving.pace.per_second,
            look=self._saving.found,
            sent_today=self._allowance.today,
            has_jobs=place.has_jobs,
            jobs_at=self._jobs_at,
            head_at=None if head_at is None else now - (wall - head_at).total_seconds(),
            whole_at=self._whole_at,
        )

    @contextlib.asynccontextmanager
    async def _cuttable(self) -> AsyncIterator[None]:
        """End the copier after what is done within, however that ends; a failure is shown, and not tried again soon."""
        try:
            async with asyncio.timeout(None) as cut:
                self._cut = cut
                yield
            self.trouble, self._pause = None, PAUSE[0]
        except TimeoutError:
            if not cut.expired():
                raise
            logger.info("saving ahead gives way")
        except AgentError as error:
            self._fail(error)
        finally:
            self._cut = None
            await self._copier.end()
            await self._allowance.keep()

    def _fail(self, error: AgentError) -> None:
        what = f"save ahead: {error.op} {error.subject}: {error.detail}"
        since = self._clock.now() if self.trouble is None else self.trouble.since
        self.trouble = Trouble(what=what, hint=error.hint, since=since)
        self._again_at = asyncio.get_running_loop().time() + self._pause
        self._pause = min(2 * self._pause, PAUSE[1])

    async def _do(self, decision: lead.Scan | lead.Pass) -> None:
        if isinstance(decision, lead.Scan):
            self.why = "looking at the tree"
            await self._scan()
        else:
            logger.info("saving ahead: %s", decision.why)
            self.why = f"saving ahead: {decision.why}"
            await self._send(decision, None)

    async def _scan(self) -> None:
        question = self._question()
        found = await self._copier.scan(question, self._moved)
        self.cpu_seconds += found.cpu_seconds
        if question.layers:
            self._counted_at, self._saving.layer_bytes = asyncio.get_running_loop().time(), found.layer_bytes
        age = None if found.oldest is None else max(0.0, self._clock.now().timestamp() - found.oldest)
        look = Look(
            at=asyncio.get_running_loop().time(),
            files=found.files,
            bytes=found.bytes,
            oldest=age,
            by_age=tuple((age, size) for age, size in found.by_age),
            used=self._saving.used,
            cpu_seconds=found.cpu_seconds,
            seconds=found.seconds,
        )
        self._saving.looked(look)

    def _question(self) -> Scan:
        now = asyncio.get_running_loop().time()
        counts = bool(self._saving.layers) and now >= self._counted_at + COUNT_LAYERS_EVERY
        return Scan(
            layers=self._saving.layer_paths if counts else [],
            **self._saving.terms(),
        )

    async def _send(self, decision: lead.Pass, notice: Notice | None) -> None:
        node = await self._whoami.node()
        before = self._clock.now() - timedelta(seconds=decision.quiet)
        command = Save(
            checkpoint=self._fresh(),
            reason="lead",
            node=asdict(node),
            notice=None if notice is None else notice_document(notice),
            commit_every=COMMIT_EVERY,
            changed_before=before.timestamp() if decision.quiet else None,
            most_bytes=decision.most_bytes,
            bytes_per_second=self._bytes_per_second,
            **self._saving.terms(),
        )
        self._sent = 0
        await self._copier.save(command, self._listen)
        saved = saved_of(dict((await self._copier.finish(self._listen)).saved))
        now, last = asyncio.get_running_loop().time(), self._saving.found
        self._allowance.committed(self._clock.now())
        if decision.most_bytes is None:
            self._whole_at = now
        self._saving.found = Look(
            at=now,
            files=saved.left.files,
            bytes=saved.left.bytes,
            used=self._saving.used,
            # It has walked the tree as well: the next look waits for both.
            cpu_seconds=2 * last.cpu_seconds if last else 0.0,
            seconds=2 * last.seconds if last else 0.0,
        )

    def _listen(self, message: Message) -> None:
        self._moved(message)
        match message:
            case Moved():
                self._allowance.add(max(0, message.progress.bytes_sent - self._sent))
                self._sent = message.progress.bytes_sent
            case Committed():
                self._allowance.committed(self._clock.now())


def rules_of(settings: Settings) -> lead.Rules:
    """Return what the operator wants of copies ahead."""
    wanted = settings.checkpoint
    return lead.Rules(
        scope=lead.Scope(wanted.lead),
        budget=wanted.lead_budget.total_seconds(),
        quiet=wanted.lead_quiet.total_seconds(),
        bytes_per_day=wanted.lead_bytes_per_day,
        every=parse_duration(wanted.every).total_seconds() if wanted.every else None,
    )
