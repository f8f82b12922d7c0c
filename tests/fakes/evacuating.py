"""An evacuation through the proxy before S3: slow enough to look at, its bytes counted, its files brought back."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent.demo.stage import BUCKET, Bucket, Instance
from tests.fakes.lab import scratch, until
from tests.fakes.s3proxy import Kind, ProxyControl, Seen
from tests.fakes.trees import differences, picture, plant

STREAMS = 2
PART = 5 << 20
"""The smallest that S3 allows."""
FEW_STREAMS = (
    f'connections = {STREAMS}\npart_size = "5MiB"\n[checkpoint]\npack_below = "0B"\n[imds]\npoll_interval = "200ms"\n'
)
"""Settings of S3, which is where `Instance` puts them: little is in flight, each file is a request, and a notice is
seen at once."""

NOWHERE = "http://10.99.0.1:9"
"""An S3 at an address of the head where nobody listens."""

FILES, BYTES = 50, 30_000_000


def planted(instance: Instance, *, files: int = FILES, size: int = BYTES) -> tuple[dict[str, tuple[object, ...]], int]:
    """Fill the node's scratch; return what is there and how many bytes that is to send."""
    top = scratch(instance.cluster, instance.name) / "work"
    plant(top, files=files, size=size)
    looks = picture(scratch(instance.cluster, instance.name))
    once = {seen[-1]: seen[-3] for seen in looks.values() if seen[0] == "file"}
    return looks, sum(int(str(size)) for size in once.values())


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def slow_down(control: ProxyControl, seconds: float) -> None:
    """Have each request that stores data wait so long, but for those that another fault is told of before."""
    control.fault(Kind.LATENCY, method="PUT", key="/data/", seconds=seconds)


def puts(control: ProxyControl, key: str) -> list[Seen]:
    """The puts seen so far of keys that hold `key`."""
    return [seen for seen in control.log() if seen.method == "PUT" and key in seen.key]


def data_bytes(control: ProxyControl) -> int:
    """How many bytes of files have come so far, what was sent in vain included."""
    return sum(seen.size for seen in puts(control, "/data/") if "/seg-" not in seen.key)


def checkpoint_of(control: ProxyControl) -> str:
    """The id of the checkpoint whose head was put last, as its key tells."""
    return puts(control, "/checkpoints/")[-1].key.rpartition("/")[2].split(".json")[0].rpartition(".")[0]


def listed(instance: Instance) -> list[dict[str, Any]]:
    """The checkpoints that `hpc-agent checkpoints` tells of and that this instance made."""
    done = instance.command("checkpoints", "--json")
    assert done.returncode == 0, done.stderr
    every = json.loads(done.stdout)["checkpoints"]
    return [one for one in every if one["writer"].endswith(f":{instance.instance_id}")]


def copiers(instance: Instance) -> list[str]:
    """The process ids, inside the node, of the copiers that run there."""
    return instance.cluster.run(instance.name, ["pgrep", "-f", "agent[. ]copier"]).stdout.split()


def no_copier(instance: Instance) -> None:
    until(lambda: not copiers(instance), "the copier ends with its daemon", seconds=15)


def stored(node: Instance, bucket: Bucket, word: str) -> bytes:
    """Return all bytes of the objects whose keys hold `word`, one after the other, whether a head names them or not."""
    target = node.cluster.shared / "everything"
    command = [sys.executable, "-m", "tests.fakes.every_object", BUCKET, word, "/shared/everything"]
    project = str(Path(__file__).parents[2])
    node.cluster.run("head", command, env=bucket.environment, cwd=project, timeout=60, check=True)
    try:
        return target.read_bytes()
    finally:
        target.unlink()


def records(node: Instance, bucket: Bucket) -> list[dict[str, Any]]:
    """Return what the node's evacuations have left in outcomes/, oldest first, a begin before its outcome."""
    text, found = stored(node, bucket, f"{node.instance_id}-").decode(), []
    while text:
        document, end = json.JSONDecoder().raw_decode(text)
        found.append(document)
        text = text[end:].lstrip()
    return sorted(found, key=lambda record: (record["at"], "ended_at" in record))


def what_came_back(instance: Instance, checkpoint: str, expected: dict[str, tuple[object, ...]]) -> list[str]:
    """Restore a checkpoint beside the scratch and return how it differs from `expected`."""
    back = "/tmp/back"
    instance.cluster.run(instance.name, ["rm", "-rf", back], check=True)
    done = instance.command("restore", checkpoint, "--to", back, "--json")
    assert done.returncode == 0, done.stderr
    found = differences(expected, picture(Path(instance.cluster.inside(instance.name, back))))
    instance.cluster.run(instance.name, ["rm", "-rf", back], check=True)
    return found
