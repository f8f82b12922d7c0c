"""The store loses the files that a head names, but not its segments: `python -m tests.fakes.losing`.

Reads JSON from standard input: `bucket`, `head` (its key without the prefix), `of`, a part of the keys to lose.
"""

import asyncio
import json
import os
import sys

import aioboto3

from agent.aws.session import open_store
from agent.checkpoint.catalog import load_segments, tree
from agent.checkpoint.head import decode

PREFIX = "hpc-agent"


async def main(asked):
    async with open_store(bucket=asked["bucket"], connections=2) as store:
        head = decode(await store.get(f"{PREFIX}/{asked['head']}"))
        lines = tree(head, await load_segments(store, PREFIX, head, None))
        keys = {entry.ref.key for line in lines for entry in line.entries if entry.ref}
    lost = sorted(key for key in keys if asked["of"] in key)
    async with aioboto3.Session().client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"]) as s3:
        for key in lost:
            await s3.delete_object(Bucket=asked["bucket"], Key=f"{PREFIX}/{key}")
    sys.stdout.write(json.dumps(lost))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.read())))
