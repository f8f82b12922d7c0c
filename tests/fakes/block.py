"""EC2 behind the process port: what `python -m agent.aws.reservation` prints about one instance, with state."""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import datetime

from agent.clock import stamp
from agent.processes import Finished


@dataclass
class FakeEc2:
    """`end` is the block's EndDate, None for no block: set it to extend. `refusal` is (sort, hint) while set."""

    end: datetime | None
    state: str = "active"
    type: str = "capacity-block"
    instance_type: str = ""
    refusal: tuple[str, str] | None = None
    raises: Exception | None = None
    hangs: bool = False
    asked_at: list[float] = field(default_factory=list)
    calls: list[list[str]] = field(default_factory=list)

    async def run(self, argv, *, seconds, env=None):
        self.asked_at.append(asyncio.get_running_loop().time())
        self.calls.append(list(argv[1:]))
        if self.hangs:
            await asyncio.Event().wait()
        if self.raises is not None:
            raise self.raises
        return Finished(code=1 if self.refusal else 0, out=json.dumps(self._document()) + "\n", err="")

    def _document(self):
        if self.refusal is not None:
            sort, hint = self.refusal
            return {"error": f"ask EC2: {sort}", "hint": hint, "sort": sort}
        if self.end is None:
            return {"none": True}
        return {
            "reservation": {
                "id": "cr-1",
                "type": self.type,
                "state": self.state,
                "end": stamp(self.end),
                "end_type": "limited",
                "instance_type": self.instance_type,
            }
        }
