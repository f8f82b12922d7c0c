"""Put files into a bucket as they are, whatever they say: `python -m tests.fakes.put_objects BUCKET DIRECTORY`."""

import asyncio
import sys
from pathlib import Path

from agent.aws.session import open_store
from agent.checksum import crc64nvme


def bodies(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}


async def put_all(bucket: str, objects: dict[str, bytes]) -> None:
    async with open_store(bucket=bucket) as store:
        for key, body in objects.items():
            await store.put(key, body, crc64nvme=crc64nvme(body))


if __name__ == "__main__":
    asyncio.run(put_all(sys.argv[1], bodies(Path(sys.argv[2]))))
