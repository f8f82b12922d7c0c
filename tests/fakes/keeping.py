"""What an agent does with the files of a job that has stopped, without the agent: python -m tests.fakes.keeping.

Saves /scratch, says in the head whose files are whose, and has the digest stand in the job's AdminComment. Reads a JSON
object from standard input: `job` (the fields of a record), `ref`, `node` (its name and instance), `bucket`.
"""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agent.aws.session import open_store
from agent.chance import SystemChance
from agent.checkpoint.keys import new_id
from agent.checkpoint.receipts import Receipts
from agent.checkpoint.save import Saver
from agent.clock import SystemClock
from agent.copier.session import node_of
from agent.model.checkpoint import CheckpointId
from agent.processes import SystemProcesses
from agent.slurm.admin_comment import AdminComments, Kept
from agent.slurm.command import Scontrol


async def main(asked):
    clock, chance = SystemClock(), SystemChance()
    with ThreadPoolExecutor(6) as executor:
        async with open_store(bucket=asked["bucket"], connections=4) as store:
            saver = Saver(
                store=store,
                prefix="hpc-agent",
                node=node_of(asked["node"]),
                checkpoint=CheckpointId(new_id(clock, chance)),
                reason="evacuation",
                notice=None,
                roots=[Path("/scratch")],
                exclude=(),
                receipts=Receipts(None),
                clock=clock,
                chance=chance,
                executor=executor,
                report=lambda _: None,
                connections=2,
                quiesced=True,
                jobs=[asked["job"]],
            )
            await saver.copy()
            commit = await saver.commit()
    scontrol = Scontrol(SystemProcesses(), "scontrol")
    comments = AdminComments(squeue=scontrol.beside("squeue"), scontrol=scontrol, chance=chance)
    job = asked["job"]
    kept = Kept(life=job["life"], rank=job["rank"], key=commit.key, digest=commit.digest)
    sys.stdout.write(json.dumps({"kept": await comments.keep(asked["ref"], kept), "key": commit.key}))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.read())))
