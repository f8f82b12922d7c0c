"""A restore as a process of its own, to be killed: bucket, checkpoint id, target."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agent.aws.session import open_store
from agent.checkpoint.catalog import find
from agent.checkpoint.restore import Restorer
from tests.fakes.saved import PREFIX


async def main(bucket, checkpoint, target):
    with ThreadPoolExecutor(8) as executor:
        async with open_store(bucket=bucket, connections=5) as store:
            commit = await find(store, PREFIX, checkpoint)
            print("found", flush=True)  # noqa: T201 - read by the test
            restorer = Restorer(store, PREFIX, target=Path(target), executor=executor, owner=True, connections=4)
            restored = await restorer.restore(commit)
            print("restored", restored.files, restored.skipped_existing, restored.problem_count, flush=True)  # noqa: T201 - as above


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
