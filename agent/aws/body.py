"""The body of a request, handed to the HTTP client in slices: never copied, and a slice taken is a sign of life."""

import io
from collections.abc import AsyncIterator, Callable

# Large enough that a slice costs nothing beside its bytes, small enough that the loop is never held for long.
_SLICE = 256 * 1024


class SlicedBody:
    """A file to botocore, which takes no memoryview; slices to aiohttp, which would send a large body in one go."""

    def __init__(self, body: bytes | memoryview, alive: Callable[[], None]) -> None:
        self._view = memoryview(body)
        self._alive = alive
        self._at = 0

    def __len__(self) -> int:
        return self._view.nbytes

    def read(self, size: int = -1) -> bytes:
        end = len(self) if size < 0 else self._at + size
        data = bytes(self._view[self._at : end])
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self)}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        return self._at

    async def __aiter__(self) -> AsyncIterator[memoryview]:
        for start in range(0, len(self), _SLICE):
            self._alive()
            yield self._view[start : start + _SLICE]
