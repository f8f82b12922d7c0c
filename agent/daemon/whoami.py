"""Who we are, found out piece by piece: what is not known yet is asked again, and only what needs it waits (P6)."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

from agent.daemon.capabilities import Capabilities, Name
from agent.errors import AgentError
from agent.model.node import BootId, Identity, InstanceId, Node, NodeName
from agent.slurm.node import SlurmNode

FIRST_PAUSE: Final = 1.0
"""Seconds before what is missing is asked for again; twice as long each time."""
LONGEST_PAUSE: Final = 10.0
LONGEST_PAUSE_FOR_STS: Final = 600.0
"""Seconds. Asking STS takes a process, and where it can't be reached it never can."""

FIRST_WORD: Final = 3.0
"""Seconds that a copy waits for who we are before it takes what the machine itself can tell."""

NOBODY: Final = "-"
"""The writer away from EC2 (docs/format.md)."""
UNKNOWN_CLUSTER: Final = "unknown-00000000"

T = TypeVar("T")


class Whoami:
    """Asks `identify` (IMDS), then `find_slurm`, `find_cluster` and `find_writer`, until each has answered.

    `find_slurm` returns None where there is no Slurm; `appeared` is called when one that was missing has come. `host`
    and `machine` stand in for what Slurm and IMDS do not tell.
    """

    def __init__(
        self,
        *,
        identify: Callable[[], Awaitable[Identity]],
        find_slurm: Callable[[Identity | None], Awaitable[SlurmNode | None]],
        find_cluster: Callable[[SlurmNode | None], Awaitable[str]],
        find_writer: Callable[[], Awaitable[str]],
        capabilities: Capabilities,
        boot_id: BootId,
        host: str,
        machine: Identity,
        appeared: Callable[[], None],
    ) -> None:
        self._identify = identify
        self._find_slurm = find_slurm
        self._find_cluster = find_cluster
        self._find_writer = find_writer
        self._capabilities = capabilities
        self._appeared = appeared
        self._host = host
        self._machine = machine
        self._slurm_is_settled = asyncio.Event()
        self._sts_again = asyncio.Event()
        self._asked = {name: asyncio.Event() for name in (Name.IMDS, Name.SLURM, Name.WRITER)}
        self.boot_id = boot_id
        self.identity: Identity | None = None
        self.slurm: SlurmNode | None = None
        self.cluster = ""
        self.writer = ""

    @property
    def name(self) -> str:
        return self._host if self.slurm is None else self.slurm.name

    @property
    def instance_id(self) -> InstanceId:
        return (self.identity or self._machine).instance_id

    def heard(self, identity: Identity | None) -> None:
        """IMDS has told a source of notices who we are: a drain for its notice names the instance."""
        if self.identity is None and identity is not None:
            self.identity = identity
            self._credentials_appeared()

    def _credentials_appeared(self) -> None:
        """IMDS has them: STS, which may have failed for the lack of them, is asked again now and waited for."""
        if not self.writer:
            self._asked[Name.WRITER].clear()
            self._sts_again.set()

    async def slurm_node(self) -> SlurmNode | None:
        """Return our node in Slurm, or None where there is no Slurm; wait as long as neither is known."""
        await self._slurm_is_settled.wait()
        return self.slurm

    async def node(self) -> Node:
        """Return who we are, with what stands in for a piece that nobody tells within FIRST_WORD seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_WORD):
                for asked in self._asked.values():
                    await asked.wait()
        return Node(
            name=NodeName(self.name),
            cluster=self.cluster or UNKNOWN_CLUSTER,
            instance_id=self.instance_id,
            boot_id=self.boot_id,
            writer=self.writer or NOBODY,
        )

    async def run(self) -> None:
        """Find everything out; ends when all is known."""
        async with asyncio.TaskGroup() as crew:
            crew.create_task(self._learn_writer(), name="learn writer")
            crew.create_task(self._learn_identity(), name="learn identity")
            crew.create_task(self._learn_slurm(), name="learn slurm")

    async def _learn_identity(self) -> None:
        self.heard(await self._persist(self._identify, Name.IMDS))
        self._capabilities.on(Name.IMDS, self.instance_id)

    async def _learn_slurm(self) -> None:
        pause, missed = FIRST_PAUSE, False
        while (slurm := await self._persist(lambda: self._find_slurm(self.identity), Name.SLURM)) is None:
            self._capabilities.off(Name.SLURM, "no scontrol on this node", "set slurm.bin_dir if it is elsewhere")
            self.cluster = await self._persist(lambda: self._find_cluster(None), Name.SLURM)
            missed = True
            self._slurm_is_settled.set()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        self.slurm = slurm
        self._slurm_is_settled.set()
        self._capabilities.on(Name.SLURM, f"node {slurm.name}")
        if missed:
            self._appeared()
        self.cluster = await self._persist(lambda: self._find_cluster(slurm), Name.SLURM)
        self._capabilities.on(Name.SLURM, f"node {slurm.name}")

    async def _learn_writer(self) -> None:
        self.writer = await self._persist(
            self._find_writer, Name.WRITER, longest=LONGEST_PAUSE_FOR_STS, again=self._sts_again
        )
        self._capabilities.on(Name.WRITER, self.writer)

    async def _persist(
        self,
        ask: Callable[[], Awaitable[T]],
        name: Name,
        *,
        longest: float = LONGEST_PAUSE,
        again: asyncio.Event | None = None,
    ) -> T:
        """Return the first answer; a pause ends early, and the next ones are short, when `again` is set."""
        pause, again = FIRST_PAUSE, again or asyncio.Event()
        while True:
            try:
                return await ask()
            except AgentError as error:
                self._capabilities.off(name, f"{error.op} {error.subject}: {error.detail}", error.hint)
            finally:
                self._asked[name].set()
            pause = FIRST_PAUSE if await _set_within(again, pause) else min(2 * pause, longest)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, and clear it; return whether it came within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True


def machine_identity(root: Path = Path("/"), *, remembered: str = "") -> Identity:
    """Return an identity without IMDS: Nitro shows the instance id as the board's asset tag; else it is what this boot
    remembers, or empty.
    """
    try:
        tag = (root / "sys/class/dmi/id/board_asset_tag").read_text().strip()
    except OSError:
        tag = ""
    return Identity(instance_id=InstanceId(tag if tag.startswith("i-") else remembered))
