"""Where the bytes of a file may be stored already: what a pass that reads it compares with before it sends anything."""

from collections.abc import Iterator
from typing import Final

from agent.checkpoint.ledger import Job
from agent.checkpoint.receipt import Extents, signature
from agent.checkpoint.receipts import Receipts
from agent.model.checkpoint import EntryType, ObjectRef, Stat

NOTHING: Final = ObjectRef(key="", offset=0, length=0, crc64nvme=0)
"""Where the bytes of a file are that has none."""


def known_bytes(receipts: Receipts, job: Job, path: bytes, stat: Stat) -> Iterator[tuple[ObjectRef, Extents | None]]:
    """Yield what is stored of the file as far as its times tell: by a receipt since the last head, by that, by a
    restore.
    """
    receipt = receipts.object_of(path, stat)
    if receipt is not None:
        yield receipt.ref or NOTHING, receipt.extents
    for row in (job.usable, job.stored):
        if row is not None and row.type is EntryType.FILE and signature(row.stat) == signature(stat):
            yield row.ref or NOTHING, row.extents
