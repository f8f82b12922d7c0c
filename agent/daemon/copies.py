"""The copies that no evacuation of this node asks for: ahead of a notice, for a person, for a job's other node.

Each has a copier of its own.
"""

from collections.abc import Callable
from concurrent.futures import Executor

from agent.chance import Chance
from agent.checkpoint.keys import new_id
from agent.clock import Clock
from agent.daemon.allowance import Allowance
from agent.daemon.checkpoints import Busy, Checkpoints
from agent.daemon.copier import Copier, Listener
from agent.daemon.hearing import Hearing
from agent.daemon.jobfiles import JobFiles
from agent.daemon.leading import Leading, Place
from agent.daemon.peers import Limits, Peers
from agent.daemon.saving import Saving
from agent.daemon.view import Ahead
from agent.daemon.whoami import Whoami
from agent.errors import PermanentError
from agent.evacuation.phases import Phase
from agent.evacuation.record import Record
from agent.evacuation.state import Evacuation, Saved
from agent.model.checkpoint import CheckpointId
from agent.settings import Settings


class Copies:
    """Makes them while nothing else goes on: all give way to the evacuation, whose state `current` returns.

    `copier` makes a copier; `moved` hears each message of the one for a person, `moved_ahead` and `moved_for_peer` of
    the others; `committed` hears of each head for a person.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        copier: Callable[[], Copier],
        whoami: Whoami,
        hearing: Hearing,
        saving: Saving,
        current: Callable[[], Evacuation],
        job_files: Callable[[], JobFiles | None],
        moved: Listener,
        moved_ahead: Listener,
        moved_for_peer: Listener,
        committed: Callable[[Saved], None],
        executor: Executor,
        clock: Clock,
        chance: Chance,
    ) -> None:
        self._whoami = whoami
        self._hearing = hearing
        self._saving = saving
        self._current = current
        self._clock = clock
        self._chance = chance
        self.allowance = Allowance(saving.keep("ahead.json"), clock=clock, executor=executor)
        self.leading = Leading(
            settings,
            copier=copier(),
            whoami=whoami,
            saving=saving,
            allowance=self.allowance,
            place=self._place,
            refusal=saving.refusal,
            fresh=self._fresh_id,
            moved=moved_ahead,
            clock=clock,
        )
        self.checkpoints = Checkpoints(
            copier=copier(),
            whoami=whoami,
            refusal=self._refusal_for_a_person,
            fresh=self._fresh_id,
            terms=saving.terms,
            moved=moved,
            committed=committed,
            job_files=job_files,
        )
        self.peers = Peers(
            copier=copier(),
            whoami=whoami,
            files=job_files,
            limits=_limits(settings),
            refusal=saving.refusal,
            fresh=self._fresh_id,
            terms=saving.terms,
            moved=moved_for_peer,
        )

    @property
    def ahead(self) -> Ahead:
        """What is shown of saving ahead."""
        return Ahead(
            why=self.leading.why,
            bytes_today=self.allowance.today,
            layers=tuple(self._saving.layer_paths),
            layer_bytes=self._saving.layer_bytes,
        )

    @property
    def counted(self) -> tuple[int, float, int | None]:
        """Bytes saved ahead, CPU seconds of looks at the tree, bytes of container layers."""
        return self.allowance.sent, self.leading.cpu_seconds, self._saving.layer_bytes

    def step(self, record: Record) -> None:
        """Give way as soon as an evacuation needs the machine."""
        if record.state.phase is not Phase.WATCHING:
            self.leading.give_way()
        if record.state.phase is Phase.COPYING:
            self.checkpoints.give_way()

    def _place(self) -> Place:
        identity, block, state = self._whoami.identity, self._hearing.block.block, self._current()
        return Place(
            is_free=state.phase is Phase.WATCHING and not self.checkpoints.is_busy,
            is_spot=identity is not None and identity.is_spot,
            block_taken_at=None if block is None else block.taken_at,
            has_jobs=self._hearing.may_have_jobs,
            may_save=state.effects.save,
        )

    async def _refusal_for_a_person(self) -> PermanentError | None:
        phase = self._current().phase
        if phase not in {Phase.WATCHING, Phase.RETURNING, Phase.RESTING}:
            return Busy("make", "a checkpoint", f"an evacuation is going on ({phase})", hint="see `hpc-agent status`")
        self.leading.give_way()  # a person waits
        return await self._saving.refusal()

    def _fresh_id(self) -> CheckpointId:
        return CheckpointId(new_id(self._clock, self._chance))


def _limits(settings: Settings) -> Limits | None:
    slurm = settings.slurm
    if not slurm.requeue or slurm.peer_save == "off":
        return None
    return Limits(bytes=slurm.peer_save_bytes, seconds=slurm.peer_save_time.total_seconds())
