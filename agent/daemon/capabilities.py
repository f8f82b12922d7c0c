"""What works on this node and what is off: each part that is off switches off only what needs it (P6)."""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from agent.clock import Clock
from agent.value import value


class Name(StrEnum):
    """The parts that can be off. A closed set: they are the labels of a metric."""

    IMDS = "imds"
    SLURM = "slurm"
    BARRIER = "barrier"
    PROLOG = "prolog"
    SCRATCH = "scratch"
    BUCKET = "bucket"
    WRITER = "writer"
    CAPACITY_BLOCK = "capacity_block"
    JOURNAL = "journal"
    HTTP = "http"
    SOCKET = "socket"
    CGROUP = "cgroup"


@value
class Capability:
    """`on` is None until it is known. `detail` says how it was found, or why it is off; `hint` what can be done."""

    on: bool | None = None
    detail: str = ""
    hint: str = ""
    since: datetime | None = None


class Capabilities:
    """The one list of them. `changed` is called with each that changes."""

    def __init__(self, clock: Clock, changed: Callable[[Name, Capability], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._all = {name: Capability() for name in Name}

    def __getitem__(self, name: Name) -> Capability:
        return self._all[name]

    @property
    def all(self) -> Mapping[Name, Capability]:
        return MappingProxyType(self._all)

    def on(self, name: Name, detail: str = "") -> None:
        self._set(name, on=True, detail=detail, hint="")

    def off(self, name: Name, detail: str, hint: str = "") -> None:
        self._set(name, on=False, detail=detail, hint=hint)

    def _set(self, name: Name, *, on: bool, detail: str, hint: str) -> None:
        known = self._all[name]
        since = known.since if known.on is on else self._clock.now()
        fresh = Capability(on=on, detail=detail, hint=hint, since=since)
        if fresh != known:
            self._all[name] = fresh
            self._changed(name, fresh)
