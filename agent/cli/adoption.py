"""What a restore into this node's own scratch leaves for the daemon: its next pass has nothing to send again."""

import math
import os
from pathlib import Path

from agent.chance import SystemChance
from agent.checkpoint.keys import new_id
from agent.checkpoint.written import Written
from agent.cli.bucket import Place
from agent.clock import SystemClock
from agent.model.checkpoint import Head
from agent.settings import Settings


def written_for(settings: Settings, target: Path, head: Head) -> Written | None:
    """Return where a restore notes what it writes; None where that is no use to a daemon of this node."""
    is_ours = _roots_below(target, head) == _scratch(settings)
    return Written() if is_ours and os.geteuid() == 0 and Path(settings.state.dir).is_dir() else None


def adopt(settings: Settings, at: Place, written: Written | None, *, until: float = math.inf) -> None:
    """Leave it in the daemon's state directory; not to be able to only costs the time to send it. Blocking.

    `until` (monotonic) bounds it.
    """
    if written is None or written.is_empty:
        return
    from agent.checkpoint.cache import Cache  # half of what saving needs

    roots = _scratch(settings)
    cache = Cache(Path(settings.state.dir, "base"), place=str(at))  # where the daemon's copier looks
    cache.adoption.keep(new_id(SystemClock(), SystemChance()), roots, written.rows(roots, until=until))


def _scratch(settings: Settings) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(map(_absolute, settings.scratch.paths)))


def _roots_below(target: Path, head: Head) -> tuple[bytes, ...]:
    """Return where a restore puts each root."""
    if len(head.roots) == 1:
        return (_absolute(target),)
    return tuple(_absolute(f"{target}/{os.fsdecode(root)}") for root in head.roots)


def _absolute(path: str | Path) -> bytes:
    return os.path.abspath(os.fsencode(path))  # noqa: PTH100 - bytes
