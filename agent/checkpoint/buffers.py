"""Memory for bodies on their way, used again and again: fresh pages cost more than reading a file into them."""

SMALL = 4
"""What needs no more than this part of a buffer gets one that is no larger: a pack of tiny files, of which many are."""


class Buffers:
    """Buffers of `size` bytes, of which `most` are kept while nobody uses them. Several threads may take and give."""

    def __init__(self, size: int, most: int) -> None:
        self._size = size
        self._most = most
        self._free: list[bytearray] = []

    def take(self, size: int) -> bytearray:
        """Return a buffer of at least `size` bytes, whatever is in it."""
        if size > self._size or size * SMALL <= self._size:
            return bytearray(size)
        try:
            return self._free.pop()
        except IndexError:
            return bytearray(self._size)

    def give(self, buffer: bytearray) -> None:
        """Take back a buffer that nobody reads or writes any more: only after a call that returned."""
        if len(buffer) == self._size and len(self._free) < self._most:
            self._free.append(buffer)
