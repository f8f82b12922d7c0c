"""Entries, directories and heads to test with, and whole trees for hypothesis."""

from datetime import UTC, datetime

from hypothesis import strategies as st

from agent.model.checkpoint import CheckpointId, Directory, Entry, EntryType, Head, Left, ObjectRef, Stat, Totals

PASS = "20261123T091500.123Z-1a2b3c4d"
DATA = f"data/AROA:i-0123/{PASS}"
CREATED = datetime(2026, 11, 23, 9, 16, 2, 500_000, tzinfo=UTC)


def a_stat(**changed):
    fields = {"mode": 0o644, "uid": 1000, "gid": 1000, "size": 0, "mtime_ns": 1, "ctime_ns": 2, "inode": 3}
    return Stat(**(fields | changed))


def a_file(name, *, size=0, ref=None, **changed):
    stat = {key: changed.pop(key) for key in ("mode", "uid", "gid", "mtime_ns", "ctime_ns", "inode") if key in changed}
    return Entry(name=name, type=EntryType.FILE, stat=a_stat(size=size, **stat), ref=ref, **changed)


def a_link(name, target, **changed):
    return Entry(name=name, type=EntryType.SYMLINK, stat=a_stat(mode=0o777, **changed), target=target)


def a_ref(length, *, key=f"{DATA}/p1.tar", offset=0, crc64nvme=0):
    return ObjectRef(key=key, offset=offset, length=length, crc64nvme=crc64nvme)


def a_directory(path, *entries, gone=(), root=0, **changed):
    changed.setdefault("stat", a_stat(mode=0o755))
    return Directory(root=root, path=path, entries=tuple(entries), gone=tuple(gone), **changed)


def a_head(**changed):
    fields = {
        "checkpoint": CheckpointId(PASS),
        "n": 1,
        "cluster": "hpc-0badcafe",
        "node": "spot-dy-c7gd-1",
        "instance_id": "i-0123",
        "boot_id": "b",
        "writer": "AROA:i-0123",
        "created_at": CREATED,
        "reason": "manual",
        "roots": (b"/scratch",),
        "segments": (),
        "complete": True,
        "quiesced": False,
        "totals": Totals(),
        "left": Left(),
    }
    return Head(**(fields | changed))


names = st.one_of(
    st.sampled_from([b"a", b"a-b", b"b", b"x", b"x.y", b"\xff", b"\xc3\xa4", b"\n", b"..."]),
    st.binary(min_size=1, max_size=6).filter(lambda name: not {0, ord("/")} & set(name) and name not in {b".", b".."}),
)
stats = st.builds(
    a_stat,
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 2),
    mtime_ns=st.integers(-(2**40), 2**62),
)
xattrs = st.dictionaries(st.sampled_from(["user.a", "system.posix_acl_access", "user.\udcff"]), st.binary(max_size=9))


@st.composite
def entries(draw, name=names):
    called = draw(name)
    kind = draw(st.sampled_from(EntryType))
    more = {"xattrs": draw(xattrs), "link": draw(st.sampled_from(["", "1"]))}
    if kind is EntryType.SYMLINK:
        target = draw(st.binary(min_size=1, max_size=9).filter(lambda text: b"\0" not in text))
        return Entry(name=called, type=kind, stat=draw(stats), target=target, **more)
    if kind is not EntryType.FILE:
        return Entry(name=called, type=kind, stat=draw(stats))
    extents = draw(st.sampled_from([None, (), ((0, 5),), ((1, 2), (8, 3))]))
    length = draw(st.integers(0, 99)) if extents is None else sum(size for _, size in extents)
    size = length if extents is None else draw(st.integers(11, 99))
    ref = a_ref(length, offset=draw(st.integers(0, 99)), crc64nvme=draw(st.integers(0, 2**64 - 1))) if length else None
    return a_file(called, size=size, ref=ref, extents=extents, torn=draw(st.booleans()), **more)


@st.composite
def segments(draw):
    """A sorted list of directories, in runs as `split` makes them not: of any size."""
    paths = draw(st.lists(st.lists(names, max_size=3).map(b"/".join), max_size=5, unique=True))
    found = [
        a_directory(
            path,
            *sorted(draw(st.lists(entries(), max_size=4, unique_by=lambda entry: entry.name)), key=lambda e: e.name),
            gone=sorted(draw(st.lists(names, max_size=2, unique=True))),
            stat=draw(st.one_of(st.none(), stats)),
            xattrs=draw(xattrs),
        )
        for path in paths
    ]
    return sorted(found, key=lambda directory: directory.order)
