"""All that a bucket holds under keys with a word in them, unpacked, into one file.

`python -m tests.fakes.every_object BUCKET WORD FILE`
"""

import asyncio
import gzip
import sys
from pathlib import Path

from agent.aws.session import open_store


async def write_all(bucket: str, word: str, path: Path) -> None:
    async with open_store(bucket=bucket) as store:
        with path.open("wb") as file:
            keys = [found.key async for found in store.list("") if word in found.key]
            for key in keys:
                body = await store.get(key)
                file.write(gzip.decompress(body) if key.endswith(".gz") else body)


if __name__ == "__main__":
    asyncio.run(write_all(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
