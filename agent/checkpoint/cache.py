"""The last head of this node and its segments, kept on the node's own disk so that nothing is fetched to compare with.

All of it can be lost or damaged and is then had from the store: nothing is synced, everything is checked. Blocking.
"""

import json
from collections.abc import Collection, Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from agent.checkpoint import adopted
from agent.checkpoint import head as heads
from agent.checkpoint.base import Layer
from agent.checkpoint.outline import is_whole
from agent.errors import PermanentError
from agent.model.checkpoint import Commit, SegmentRef

_HEAD = "head.json"


class Cache:
    """`directory` is made when there is something to keep; `place` names bucket and prefix: another's is not ours.

    What can't be written is not kept: then the next pass fetches it.
    """

    def __init__(self, directory: Path, *, place: str) -> None:
        self._directory = directory
        self._place = place
        self.adoption = adopted.Adoption(directory, place=place)
        """What restores have put on the scratch: kept beside."""

    def last(self) -> Commit | None:
        """Return the head that was committed last; None when there is none, or it can't be read."""
        try:
            kept = json.loads((self._directory / _HEAD).read_bytes())
            body = kept["head"].encode("ascii")
            if kept["place"] != self._place or heads.digest(body) != kept["digest"]:
                return None
            return Commit(head=heads.decode(body), key=kept["key"], digest=kept["digest"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, PermanentError):
            return None

    def keep(self, commit: Commit, fresh: Iterable[tuple[SegmentRef, Layer]]) -> None:
        """Keep a head and those of its segments that are not here yet; of others only what it names."""
        for ref, layer in fresh:
            self.keep_segment(ref, layer)
        body = heads.encode(commit.head).decode("ascii")
        kept = {"place": self._place, "key": commit.key, "digest": commit.digest, "head": body}
        if self._write(_HEAD, json.dumps(kept).encode()):
            with suppress(OSError):
                self._prune({_name(ref) for ref in commit.head.segments})

    def layer(self, ref: SegmentRef) -> Layer | None:
        """Return a segment; None when it is not here, or not as it was written."""
        try:
            body = (self._directory / _name(ref)).read_bytes()
            outlines = (self._directory / _outline(ref)).read_bytes()
        except OSError:
            return None
        is_same = sha256(body).hexdigest() == ref.sha256
        return Layer(body=body, outlines=outlines) if is_same and is_whole(outlines) else None

    def keep_segment(self, ref: SegmentRef, layer: Layer) -> None:
        """Keep a segment until a head that does not name it is kept."""
        if self._write(_name(ref), layer.body):
            self._write(_outline(ref), layer.outlines)

    def _write(self, name: str, body: bytes) -> bool:
        temporary = self._directory / f"{name}.new"
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            temporary.write_bytes(body)
            temporary.replace(self._directory / name)
        except OSError:
            return False
        return True

    def _prune(self, keep: Collection[str]) -> None:
        for path in self._directory.iterdir():
            is_adopted = path.name.startswith(adopted.PREFIX)
            if path.name != _HEAD and not is_adopted and path.name.partition(".")[0] not in keep:
                path.unlink(missing_ok=True)


def _name(ref: SegmentRef) -> str:
    return ref.sha256


def _outline(ref: SegmentRef) -> str:
    return f"{ref.sha256}.outline"
