"""What goes out after the head of a request, piece by piece."""

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from agent.aws.wire.connection import PIECE
from agent.checksum import crc64nvme, to_base64
from agent.store.base import Flow

_CHECKSUM: Final = "x-amz-checksum-crc64nvme"


class Outgoing(Protocol):
    """A body, which may be sent more than once. `headers` say how it comes, its length included.

    `checksum` is its CRC-64/NVME, of one that is read while it is sent that of the last time.
    """

    @property
    def size(self) -> int: ...

    @property
    def checksum(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def pieces(self, buffer: memoryview) -> Iterator[bytes | memoryview]:
        """Yield it from its beginning; a piece may be in `buffer`. Raises what reading it raises."""
        ...


class Held:
    """A body in memory, and its checksum when it is to be checked."""

    def __init__(self, data: bytes | memoryview, checksum: int | None = None) -> None:
        self._view = memoryview(data).cast("B")
        self.size = len(self._view)
        self.checksum = checksum or 0
        self.headers = {"content-length": str(self.size)}
        if checksum is not None:
            self.headers[_CHECKSUM] = to_base64(checksum)

    def pieces(self, buffer: memoryview) -> Iterator[bytes | memoryview]:  # noqa: ARG002 - it needs none
        for start in range(0, len(self._view), PIECE):
            yield self._view[start : start + PIECE]


class Flowing:
    """A body that is read while it is sent. Its checksum, known only then, goes behind it, in a trailer.

    In one chunk of any size, as the clients that AWS made in C send it; S3 User Guide, "Checking object integrity for
    data uploads with trailing checksums".
    """

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._before = f"{flow.size:x}\r\n".encode() if flow.size else b""
        self.size = flow.size
        self.checksum = 0
        length = len(self._before) + flow.size + len(self._after())
        self.headers = {
            "content-length": str(length),
            "content-encoding": "aws-chunked",
            "x-amz-decoded-content-length": str(flow.size),
            "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            "x-amz-trailer": _CHECKSUM,
        }

    def pieces(self, buffer: memoryview) -> Iterator[bytes | memoryview]:
        checksum = 0
        if self._before:
            yield self._before
        for start in range(0, self._flow.size, len(buffer)):
            piece = buffer[: min(len(buffer), self._flow.size - start)]
            self._flow.read(start, piece)
            checksum = crc64nvme(piece, checksum)
            yield piece
        self.checksum = checksum
        yield self._after()

    def _after(self) -> bytes:
        end = "\r\n" if self._before else ""
        return f"{end}0\r\n{_CHECKSUM}:{to_base64(self.checksum)}\r\n\r\n".encode()
