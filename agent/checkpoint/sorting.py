"""The bytes of a batch on their way to its members: each is put in its place as soon as it is whole. Blocking."""

from collections.abc import Callable, Sequence

from agent.checkpoint.placing import Placed
from agent.checkpoint.units import Batch, Member

_NOTHING = memoryview(b"")


class Sorting:
    """Takes a batch piece by piece and holds no more of it than one member. `place` gets a member and its bytes.

    The members of a batch stand in the order of their bytes.
    """

    def __init__(self, batch: Batch, place: Callable[[Member, memoryview], Placed]) -> None:
        self._members = batch.members
        self._place = place
        self._at = batch.offset
        self._held = bytearray()
        self.placed: list[Placed] = []

    @property
    def missing(self) -> Sequence[Member]:
        """The members that no bytes came for."""
        return self._members[len(self.placed) :]

    def take(self, piece: memoryview) -> None:
        """Take what comes next. Raises what `place` does."""
        start, self._at = self._at, self._at + piece.nbytes
        for member in self.missing:
            ref = member.entry.ref
            if ref is None or ref.offset >= self._at:
                return
            end = ref.offset + ref.length
            part = piece[max(0, ref.offset - start) : end - start]
            if self._held or end > self._at:
                self._held += part
            if end > self._at:
                return
            self._put(member, memoryview(self._held) if self._held else part)

    def take_nothing(self) -> None:
        """Place members that have no bytes. Raises what `place` does."""
        for member in self._members:
            self._put(member, _NOTHING)

    def _put(self, member: Member, data: memoryview) -> None:
        self.placed.append(self._place(member, data))
        self._held = bytearray()
