"""A copier as a process of its own, to be killed: python -m tests.fakes.saving BUCKET ROOT RECEIPTS CHECKPOINT.

Keeps the last head beside the receipts. Says on standard output, unbuffered, what it begins to send and what was
acknowledged: `begin SIZE`, `done SECONDS KEY`, and at the end `committed N`. Each request takes 100 ms more than it
would.
"""

import asyncio
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agent.aws.session import open_store
from agent.chance import SystemChance
from agent.checkpoint.cache import Cache
from agent.checkpoint.receipts import Receipts
from agent.store.base import size_of
from agent.store.retrying import Retrying
from tests.fakes.flaky_store import FlakyStore
from tests.fakes.saved import a_saver

CONNECTIONS = 4
PART = 5 << 20
PACK_BELOW = 30_000
PACK = 100_000
COMMIT_SECONDS = 0.2


def say(line):
    os.write(1, f"{line}\n".encode())


class Telling(FlakyStore):
    async def put(self, key, body, **options):
        is_data = "/f" in key or "/p" in key
        if is_data:
            say(f"begin {size_of(body)}")
        stored = await super().put(key, body, **options)
        if is_data:
            say(f"done {time.monotonic()} {key}")
        return stored

    async def put_part(self, key, upload, number, body, **options):
        say(f"begin {size_of(body)}")
        return await super().put_part(key, upload, number, body, **options)

    async def complete(self, key, upload, parts, **options):
        await super().complete(key, upload, parts, **options)
        say(f"done {time.monotonic()} {key}")

    async def _call(self, name, key, call):
        await asyncio.sleep(0.1)
        return await super()._call(name, key, call)


async def main(bucket, root, receipts, checkpoint):
    with ThreadPoolExecutor(CONNECTIONS + 2) as executor:
        async with open_store(bucket=bucket, connections=CONNECTIONS + 1) as s3:
            store = Retrying(Telling(s3), SystemChance(), lambda _: None)
            saver = a_saver(
                store,
                Path(root),
                executor,
                receipts=Receipts.load(Path(receipts)),
                cache=Cache(Path(receipts).with_name("base"), place=bucket),
                checkpoint=checkpoint,
                connections=CONNECTIONS,
                part_size=PART,
                pack_below=PACK_BELOW,
                pack_size=PACK,
                commit_every=COMMIT_SECONDS,
            )
            await saver.copy()
            say(f"committed {(await saver.commit()).head.n}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
