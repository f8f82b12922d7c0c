"""What one start has found out about this node: the next start of the same boot need not ask again."""

import json
from dataclasses import asdict, astuple
from pathlib import Path

from agent.model.node import BootId
from agent.value import value


@value
class Memory:
    """Empty is not known. Nothing that is known can change within one boot.

    `in_service` is whether Auto Scaling has had the instance in service since it booted.
    """

    boot: str = ""
    name: str = ""
    cluster: str = ""
    writer: str = ""
    instance_id: str = ""
    in_service: bool = False

    @classmethod
    def load(cls, path: Path, boot_id: BootId) -> "Memory":
        """Return what is remembered of this boot; a file of another boot, or a broken one, is nothing."""
        try:
            memory = cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return cls(boot=boot_id)
        types = [type(value) for value in astuple(memory)]
        known = types == [type(default) for default in astuple(cls())]
        return memory if known and memory.boot == boot_id else cls(boot=boot_id)

    def save(self, path: Path) -> None:
        """Write it whole or not at all. Raises OSError."""
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)))
        fresh.replace(path)
