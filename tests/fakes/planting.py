"""What somebody with a node's rights to the bucket can plant there: a head full of what no user could make, a pointer.

`python -m tests.fakes.planting` reads a JSON object from standard input: `bucket`, `job` (the record of a job), `deed`;
prints the head's key and digest.
"""

import asyncio
import gzip
import json
import sys
from dataclasses import replace

from agent.aws.session import open_store
from agent.checkpoint.keys import job_key
from agent.checkpoint.segment import encode
from agent.jobs.record import JobRecord, pointer
from tests.fakes.checkpoints import a_directory, a_link, a_stat
from tests.fakes.shelf import WRITER, Shelf

HERS = {"uid": 4242, "gid": 4242}
ROOTS = {"inside": b"/scratch", "outside": b"/scratch", "elsewhere": b"/etc"}


async def main(asked):
    record, deed = JobRecord.parse(asked["job"]), asked["deed"]
    own = str(record.job).encode()
    async with open_store(bucket=asked["bucket"], connections=2) as store:
        shelf = Shelf(store, prefix="hpc-agent")

        async def file(name, *, uid, mode):
            entry = await shelf.file(name, b"planted")
            return replace(entry, stat=replace(entry.stat, mode=mode, uid=uid, gid=uid))

        entries = [
            a_link(b"link", b"/etc", **HERS),
            await file(b"mallory", uid=4343, mode=0o644),
            await file(b"own", uid=4242, mode=0o6755),
            await file(b"root", uid=0, mode=0o6755),
        ]
        hers, job = a_stat(mode=0o755, **HERS), await file(b"job", uid=4242, mode=0o644)
        folder = a_directory(own, *entries, stat=hers)
        through = a_directory(own + b"/link/cron.d", job, stat=hers)
        above = a_directory(b"!!/etc/cron.d", job, stat=hers)
        layers = {
            "inside": [folder, through],
            "outside": gzip.compress(gzip.decompress(encode([above, folder])).replace(b"!!/", b"../")),
            "elsewhere": [folder],
        }
        commit = await shelf.commit(
            layers[deed],
            roots=(ROOTS[deed],),
            node="n1",
            cluster="lab-0badcafe",
            quiesced=True,
            jobs=(record.document(),),
        )
        name = job_key(cluster="lab-0badcafe", job=record.job, writer=WRITER, life=record.life, rank=record.rank)
        note = pointer(record, head=commit.key, digest=commit.digest)
        await shelf.put(name, json.dumps(note).encode())
    sys.stdout.write(json.dumps({"key": commit.key, "digest": commit.digest}))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.read())))
