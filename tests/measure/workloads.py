"""The trees that are saved: what checkpoints of jobs look like, from many small files to few large ones."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

KIB, MIB = 1 << 10, 1 << 20
FOLDER = 200
"""Files in a directory."""
POOL = 64 * MIB
"""Random bytes, of which every file is a stretch of its own: nothing compresses, no two files are the same."""
STRIDE = 7919


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """`count` files of `size` bytes."""

    name: str
    count: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    name: str
    kinds: Sequence[Kind]

    @property
    def files(self) -> int:
        return sum(kind.count for kind in self.kinds)

    @property
    def bytes(self) -> int:
        return sum(kind.count * kind.size for kind in self.kinds)

    @property
    def megabytes(self) -> float:
        return self.bytes / 1e6

    def shrunk(self, times: int) -> "Workload":
        """Return the same mixture, that many times smaller: fewer small files, shorter large ones."""
        return Workload(name=self.name, kinds=[_shrunk(kind, times) for kind in self.kinds])

    def make(self, directory: Path) -> Path:
        """Write the tree below `directory`; return its top."""
        top, pool = directory / self.name, memoryview(random.Random(self.name).randbytes(min(POOL, self.bytes)))
        for kind in self.kinds:
            for number in range(kind.count):
                folder = top / kind.name / f"{number // FOLDER:03}"
                if number % FOLDER == 0:
                    folder.mkdir(parents=True)
                _write(folder / f"{number:05}", kind.size, pool, number * STRIDE)
        return top


def _shrunk(kind: Kind, times: int) -> Kind:
    if kind.count >= times:
        return Kind(name=kind.name, count=kind.count // times, size=kind.size)
    return Kind(name=kind.name, count=kind.count, size=kind.size // times)


def _write(path: Path, size: int, pool: memoryview, start: int) -> None:
    with path.open("wb", buffering=0) as file:
        while size:
            at = start % len(pool)
            size -= (written := file.write(pool[at : at + size]))
            start += written + STRIDE


WORKLOADS: Mapping[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload(name="W1", kinds=[Kind(name="results", count=1000, size=100_000)]),
        Workload(name="W2", kinds=[Kind(name="states", count=4, size=512 * MIB)]),
        Workload(name="W3", kinds=[Kind(name="samples", count=20_000, size=10 * KIB)]),
        Workload(
            name="W4",
            kinds=[
                Kind(name="model", count=1, size=1024 * MIB),
                Kind(name="shards", count=50, size=20 * MIB),
                Kind(name="logs", count=5000, size=20 * KIB),
            ],
        ),
    )
}
