"""Makes tests/golden/checkpoint-v1 once: what a version 1 writer stores, put together by hand from docs/format.md.

It uses none of the agent's codecs, so that it holds them to the format and not to themselves. What is there is never
edited: a checkpoint of version 1 restores for ever. Run with `python -m tests.golden.make_checkpoint_v1`.
"""

import base64
import gzip
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

from agent.checksum import crc64nvme

HERE = Path(__file__).parent / "checkpoint-v1"
WRITER = "AROAEXAMPLE:i-0123456789abcdef0"
OTHER = "AROAOTHER:i-0fedcba9876543210"
FIRST_PASS = "20261123T091500.123Z-1a2b3c4d"
SECOND_PASS = "20261123T101500.000Z-0badcafe"
MTIME = 1_795_000_000_123_456_789
ACL = bytes.fromhex("0200000001000600ffffffff02000600e803000004000400ffffffff10000600ffffffff20000400ffffffff")
"""user::rw- user:1000:rw- group::r-- mask::rw- other::r-- (acl(5), as the kernel stores it)."""


def b64(data):
    return base64.b64encode(data).decode()


class Tree:
    """Objects by key, and what has to come back, by path."""

    def __init__(self):
        self.objects = {}
        self.expected = {}

    def pack(self, key, contents):
        """Store a pack; return where each member's bytes are."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, data in contents.items():
                member = tarfile.TarInfo(name)
                member.size, member.mtime = len(data), MTIME // 10**9
                tar.addfile(member, io.BytesIO(data))
        self.objects[key] = buffer.getvalue()
        with tarfile.open(fileobj=io.BytesIO(self.objects[key])) as tar:
            return {member.name: member.offset_data for member in tar.getmembers()}

    def segment(self, key, lines):
        """Store a segment; return how a head names it."""
        text = b"".join(
            json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
            for line in ({"schema": 1, "format": "hpc-agent segment"}, *lines)
        )
        blob = gzip.compress(text, mtime=0)
        self.objects[key] = blob
        return {
            "key": key,
            "size": len(blob),
            "sha256": hashlib.sha256(blob).hexdigest(),
            "directories": sum(1 for line in lines if not line.get("run")),
            "entries": sum(len(line["names"]) for line in lines),
        }

    def head(self, writer, checkpoint, n, **changed):
        hour = checkpoint[9:11]
        value = {
            "schema": 1,
            "format": "hpc-agent head",
            "checkpoint": checkpoint,
            "n": n,
            "cluster": "hpc-0badcafe",
            "node": "spot-dy-c7gd-1",
            "instance_id": writer.split(":")[1],
            "boot_id": "8f7d4f0e-5a0c-4f0e-9d5e-0f4d2c1b0a99",
            "writer": writer,
            "created_at": f"2026-11-23T{hour}:16:02.500Z",
            "reason": "evacuation",
            "notice": {"id": "spot-1", "kind": "spot-terminate", "ends_at": f"2026-11-23T{hour}:17:00.000Z"},
            "quiesced": False,
            "left": {"files": 0, "bytes": 0, "paths": []},
            "jobs": [],
        }
        key = f"checkpoints/hpc-0badcafe/spot-dy-c7gd-1/{writer}/{checkpoint}.{n}.json"
        self.objects[key] = json.dumps(value | changed, separators=(",", ":"), sort_keys=True).encode()


def row(kind, mode, size=0, place=None, data=b"", mtime=MTIME, owner=(1000, 1001)):
    """A row; `place` is (index of the object, offset) of the stored bytes `data`."""
    found = [kind, mode, *owner, size or len(data), mtime, MTIME + 5, 4711]
    return found if place is None else [*found, *place, f"{crc64nvme(data):016x}"]


def stat(mode, mtime=MTIME, owner=(1000, 1001)):
    return [mode, *owner, mtime, MTIME + 5, 4712]


def wanted(kind, mode, content=None, mtime=MTIME, owner=(1000, 1001), **more):
    """What has to come back: of a file its bytes, of a link its target, both as base64."""
    found = {"type": kind, "mode": mode, "owner": list(owner), "mtime": mtime, "xattrs": {}}
    return found | ({} if content is None else {"content": b64(content)}) | more


def first(tree):
    """A base and a delta, complete; its first commit knew the base only."""
    data = f"data/{WRITER}/{FIRST_PASS}"
    big, sparse, pack, later = f"{data}/f1/big", f"{data}/f2/sparse", f"{data}/p1.tar", f"{data}/p2.tar"
    tree.objects[big] = bytes(range(256)) * 40
    tree.objects[sparse] = b"A" * 4096 + b"B" * 100
    small = {
        "scratch/a-b": b"sorts before a/x",
        "scratch/a/x": b"x of a",
        "scratch/caf?": b"not UTF-8",
        "scratch/gone": b"gone",
        "scratch/kind": b"a file first",
        "scratch/linked/one": b"one file, two names",
        "scratch/m/1": b"run 0",
        "scratch/m/2": b"run 1",
        "scratch/tree/in": b"a directory first",
    }
    at = {name.removeprefix("scratch/"): (0, offset) for name, offset in tree.pack(pack, small).items()}
    text = {name.removeprefix("scratch/"): content for name, content in small.items()}

    def packed(name, mode=0o644, **more):
        return row("f", mode, place=at[name], data=text[name], **more)

    base = tree.segment(
        f"{data}/seg-1.jsonl.gz",
        [
            {
                "root": 0,
                "dir": "",
                "stat": stat(0o1777, owner=(0, 0)),
                "names": ["a-b", "big", None, "empty", "gone", "kind", "link", "pipe", "sparse", "ü\n"],
                "names64": {"2": b64(b"caf\xe9")},
                "rows": [
                    packed("a-b", 0o4750),
                    row("f", 0o600, place=(1, 0), data=tree.objects[big]),
                    packed("caf?"),
                    row("f", 0o444, mtime=-1_000_000_001),
                    packed("gone"),
                    packed("kind"),
                    row("l", 0o777, size=5),
                    row("p", 0o600),
                    row("f", 0o640, size=1 << 20, place=(2, 0), data=tree.objects[sparse]),
                    row("l", 0o777, size=2, owner=(0, 5)),
                ],
                "objects": [pack, big, sparse],
                "more": {
                    "1": {"xattrs": {"user.made-by": b64(b"\x00job")}},
                    "6": {"target": "a/x\u00fc"},
                    "8": {"extents": [[8192, 4096], [1 << 19, 100]]},
                    "9": {"target64": b64(b"\xfe\xff")},
                },
            },
            {"root": 0, "dir": "a", "stat": stat(0o755), "names": ["x"], "rows": [packed("a/x")], "objects": [pack]},
            {"root": 0, "dir": "empty dir", "stat": stat(0o2700, mtime=7), "names": [], "rows": [], "objects": []},
            {
                "root": 0,
                "dir": "linked",
                "stat": stat(0o750),
                "xattrs": {"user.kind": b64(b"folder")},
                "names": ["one", "two"],
                "rows": [packed("linked/one", 0o664), packed("linked/one", 0o664)],
                "objects": [pack],
                "more": {
                    str(index): {"link": "66305:77", "xattrs": {"system.posix_acl_access": b64(ACL)}}
                    for index in (0, 1)
                },
            },
            {"root": 0, "dir": "m", "stat": stat(0o755), "names": ["1"], "rows": [packed("m/1")], "objects": [pack]},
            {"root": 0, "dir": "m", "run": 1, "names": ["2"], "rows": [packed("m/2")], "objects": [pack]},
            {"root": 0, "dir64": b64(b"o\xffdd"), "stat": stat(0o711), "names": [], "rows": [], "objects": []},
            {
                "root": 0,
                "dir": "tree",
                "stat": stat(0o755),
                "names": ["in"],
                "rows": [packed("tree/in")],
                "objects": [pack],
            },
            {"root": 0, "dir": "tree/deep", "stat": stat(0o755), "names": [], "rows": [], "objects": []},
            {"root": 0, "dir": "zap", "stat": stat(0o755), "names": ["x"], "rows": [packed("a/x")], "objects": [pack]},
            {"root": 0, "dir": "zap/zip", "stat": stat(0o755), "names": [], "rows": [], "objects": []},
        ],
    )
    new = {"scratch/tree": b"now a file", "scratch/kind/new": b"now a directory", "scratch/m/2": b"run 1, changed"}
    where = {name: (0, offset) for name, offset in tree.pack(later, new).items()}
    delta = tree.segment(
        f"{data}/seg-2.jsonl.gz",
        [
            {
                "root": 0,
                "dir": "",
                "stat": stat(0o1777, mtime=MTIME + 1, owner=(0, 0)),
                "names": ["tree"],
                "rows": [row("f", 0o600, place=where["scratch/tree"], data=new["scratch/tree"])],
                "objects": [later],
                "gone": ["gone", "kind", "tree", "zap"],
            },
            {
                "root": 0,
                "dir": "kind",
                "stat": stat(0o700),
                "names": ["new"],
                "rows": [row("f", 0o600, place=where["scratch/kind/new"], data=new["scratch/kind/new"])],
                "objects": [later],
                "more": {"0": {"unsettled": True}},
            },
            {
                "root": 0,
                "dir": "m",
                "names": ["2"],
                "rows": [row("f", 0o600, place=where["scratch/m/2"], data=new["scratch/m/2"])],
                "objects": [later],
            },
        ],
    )
    before = {"files": 14, "bytes": 14_554, "directories": 10, "symlinks": 2, "skipped": 1, "torn": 0}
    after = {"files": 12, "bytes": 14_549, "directories": 7, "symlinks": 2, "skipped": 1, "torn": 0}
    tree.head(WRITER, FIRST_PASS, 1, roots=["/scratch"], segments=[base], complete=False, totals=before)
    tree.head(WRITER, FIRST_PASS, 2, roots=["/scratch"], segments=[base, delta], complete=True, totals=after)
    islands = bytearray(1 << 20)
    islands[8192:12288], islands[1 << 19 : (1 << 19) + 100] = b"A" * 4096, b"B" * 100
    acl = {"xattrs": {"system.posix_acl_access": b64(ACL)}, "link": "linked/one"}
    return {
        ".": wanted("d", 0o1777, mtime=MTIME + 1, owner=(0, 0)),
        "a": wanted("d", 0o755),
        "a-b": wanted("f", 0o4750, text["a-b"]),
        "a/x": wanted("f", 0o644, text["a/x"]),
        "big": wanted("f", 0o600, tree.objects[big], xattrs={"user.made-by": b64(b"\x00job")}),
        "caf\xe9": wanted("f", 0o644, text["caf?"]),
        "empty": wanted("f", 0o444, b"", mtime=-1_000_000_001),
        "empty dir": wanted("d", 0o2700, mtime=7),
        "kind": wanted("d", 0o700),
        "kind/new": wanted("f", 0o600, new["scratch/kind/new"]),
        "link": wanted("l", 0o777, "a/xü".encode()),
        "linked": wanted("d", 0o750, xattrs={"user.kind": b64(b"folder")}),
        "linked/one": wanted("f", 0o664, text["linked/one"], **acl),
        "linked/two": wanted("f", 0o664, text["linked/one"], **acl),
        "m": wanted("d", 0o755),
        "m/1": wanted("f", 0o644, text["m/1"]),
        "m/2": wanted("f", 0o600, new["scratch/m/2"]),
        "o\xffdd": wanted("d", 0o711),
        "sparse": wanted("f", 0o640, sha256=hashlib.sha256(islands).hexdigest()),
        "tree": wanted("f", 0o600, new["scratch/tree"]),
        "ü\n".encode().decode("latin-1"): wanted("l", 0o777, b"\xfe\xff", owner=(0, 5)),
    }


def second(tree):
    """An incomplete one of two roots, with a torn file, that refers to bytes another writer stored."""
    data = f"data/{OTHER}/{SECOND_PASS}"
    old = f"data/{WRITER}/{FIRST_PASS}/f1/big"
    torn = f"{data}/f1/torn"
    tree.objects[torn] = b"half old, half new"
    big = tree.objects[old]
    segment = tree.segment(
        f"{data}/seg-1.jsonl.gz",
        [
            {
                "root": 0,
                "dir": "",
                "stat": stat(0o755),
                "names": ["kept", "torn"],
                "rows": [
                    row("f", 0o600, place=(0, 0), data=big),
                    row("f", 0o600, place=(1, 0), data=tree.objects[torn]),
                ],
                "objects": [old, torn],
                "more": {"1": {"torn": True, "unsettled": True}},
            },
            {"root": 1, "dir": "deep/er", "stat": stat(0o700), "names": [], "rows": [], "objects": []},
        ],
    )
    tree.head(
        OTHER,
        SECOND_PASS,
        4,
        roots=["/scratch", {"base64": b64(b"/local/\xff")}],
        segments=[segment],
        complete=False,
        totals={"files": 2, "bytes": len(big) + 18, "directories": 2, "symlinks": 0, "skipped": 0, "torn": 1},
        left={"files": 1, "bytes": 1 << 40, "paths": ["/scratch/too large"]},
    )
    return {
        "scratch": wanted("d", 0o755),
        "scratch/kept": wanted("f", 0o600, big),
        "scratch/torn": wanted("f", 0o600, tree.objects[torn]),
        "local/\xff/deep/er": wanted("d", 0o700),
    }


def main():
    if HERE.exists():
        sys.exit(f"{HERE} is there, and is never changed: a new version gets a folder of its own")
    tree = Tree()
    expected = {FIRST_PASS: first(tree), SECOND_PASS: second(tree)}
    for key, body in tree.objects.items():
        path = HERE / "objects" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    text = json.dumps(expected, indent=1, ensure_ascii=True, sort_keys=True)
    (HERE / "expected.json").write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
