"""What can happen to an evacuation. Each event is a value that can be written down and read by a person later."""

from datetime import datetime

from agent.evacuation.jobs import Dealt, Held
from agent.evacuation.state import Saved
from agent.evacuation.work import Work
from agent.model.checkpoint import CheckpointId
from agent.model.drain import Drain
from agent.model.notice import Notice
from agent.value import value


@value
class Event:
    """Something happened: `at` in monotonic seconds, `wall` for people.

    `fresh` is the id of a checkpoint, should this be what begins an evacuation.
    """

    at: float
    wall: datetime
    fresh: CheckpointId


@value
class Started(Event):
    """The agent was started and has this state from its journal (or a new one); or Slurm has appeared on this node."""


@value
class Noticed(Event):
    """The notices of one source are now these."""

    source: str
    notices: frozenset[Notice]


@value
class Drained(Event):
    """An attempt to drain has settled whose drain stands."""

    drain: Drain


@value
class Committed(Event):
    """S3 has acknowledged a head."""

    saved: Saved


@value
class Done(Event):
    """A piece of work is done."""

    work: Work


@value
class Failed(Event):
    """A piece of work can't be done, and will not be tried again in this phase."""

    work: Work
    what: str
    hint: str


@value
class Troubled(Event):
    """A piece of work meets trouble and goes on trying; an empty `what` says that the trouble is over."""

    work: Work
    what: str
    hint: str


@value
class Withheld(Event):
    """The mode does not allow a piece of work: `what` is what it would have done."""

    work: Work
    what: str


@value
class Estimated(Event):
    """Saving all that is on the scratch would take about so many seconds now."""

    seconds: float


@value
class Looked(Event):
    """These jobs run on the node; of those that did, Slurm has taken `requeued` (their `ref`) back."""

    jobs: tuple[Held, ...]
    requeued: tuple[str, ...] = ()


@value
class Handled(Event):
    """Something was done to a job: `dealt`, or it was `signalled`."""

    ref: str
    dealt: Dealt
    why: str = ""
    signalled: bool = False


@value
class Planned(Event):
    """What the plan goes by has changed: what stopping the jobs or the last delta take, in seconds."""

    stop_seconds: float | None = None
    delta_seconds: float | None = None


@value
class Matured(Event):
    """The time to act on a notice that waited has come."""


@value
class TimeUp(Event):
    """The time of the current phase is over."""
