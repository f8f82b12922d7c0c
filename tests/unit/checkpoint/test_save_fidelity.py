"""What few trees have, there and back: each of it has cost somebody a file."""

import os
import struct

import pytest

from agent.checkpoint.restore import Restorer
from agent.store.memory import MemoryStore
from tests.fakes.saved import PREFIX, a_saver, directories, tree_on_disk

GIB = 1 << 30
PAGE = 4096
HUGE_ID = 3_000_000_000
"""More than seven octal digits, which is all that ustar has room for."""


async def there_and_back(root, target, executor, **options):
    """Save a tree and restore it; return the head and its store."""
    store = MemoryStore(smallest_part=1)
    saver = a_saver(store, root, executor, **options)
    await saver.copy()
    commit = await saver.commit()
    assert commit.head.complete
    restored = await Restorer(store, PREFIX, target=target, executor=executor, owner=True).restore(commit)
    assert not restored.problems
    return commit.head, store


def below(root):
    return {path.removeprefix(os.fsencode(root)): value for path, value in tree_on_disk(root).items()}


def an_acl(*entries):
    """An ACL as the kernel keeps it: its version, then tag, permissions and id of each entry (acl(5))."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY = 0xFFFFFFFF
ACL = an_acl((1, 7, NOBODY), (2, 6, 4242), (4, 5, NOBODY), (16, 7, NOBODY), (32, 0, NOBODY))
"""user::rwx user:4242:rw- group::r-x mask::rwx other::---"""


@pytest.mark.parametrize("pack_below", [0, 10_000])
async def test_p2_ids_times_attributes_and_acls_of_files_and_directories_come_back(
    root, tmp_path, executor, pack_below
):
    (root / "d" / "empty").mkdir(parents=True)
    (root / "d" / "file").write_bytes(b"file")
    (root / "none").touch()
    for path in (root / "d", root / "d" / "empty", root / "d" / "file", root / "none"):
        os.chown(path, HUGE_ID, HUGE_ID + 1)
        for name in ("user.note", "trusted.note", "security.note"):
            os.setxattr(path, name, name.encode() + b"\0\xff")
        os.setxattr(path, "system.posix_acl_access", ACL)
    os.setxattr(root / "d", "system.posix_acl_default", ACL)
    times = [-1, -(10**18) + 123_456_789, 1, 2**33 * 10**9 + 7]
    for when, path in zip(times, (root / "none", root / "d" / "file", root / "d" / "empty", root / "d"), strict=True):
        os.utime(path, ns=(0, when))
    await there_and_back(root, tmp_path / "back", executor, pack_below=pack_below)
    assert below(tmp_path / "back") == below(root)


ISLANDS = {
    "a hole at the start": (3 * PAGE, [(PAGE, PAGE)]),
    "a hole at the end": (5 * PAGE + 1, [(0, PAGE)]),
    "nothing but a hole": (7 * GIB + 3, []),
    "holes of more than 4 GiB": (14 * GIB, [(0, PAGE), (5 * GIB, 40 * PAGE), (11 * GIB + PAGE, PAGE)]),
    "a hole before the last byte": (9 * GIB + 1, [(9 * GIB, 1)]),
}


@pytest.mark.parametrize(("size", "islands"), ISLANDS.values(), ids=ISLANDS)
async def test_p2_holes_come_back_as_holes_wherever_they_are(root, tmp_path, executor, size, islands):
    bodies = {start: os.urandom(length) for start, length in islands}
    with (root / "file").open("wb") as file:
        file.truncate(size)
        for start, body in bodies.items():
            os.pwrite(file.fileno(), body, start)
    head, _ = await there_and_back(root, tmp_path / "back", executor)
    assert head.totals.bytes <= sum(map(len, bodies.values())) + len(bodies) * PAGE
    back, was = (tmp_path / "back" / "file").stat(), (root / "file").stat()
    assert (back.st_size, back.st_blocks) == (was.st_size, was.st_blocks)
    with (tmp_path / "back" / "file").open("rb") as file:
        for start, body in bodies.items():
            assert os.pread(file.fileno(), len(body), start) == body


async def test_p2_a_file_of_more_parts_than_s3_takes_is_sent_in_larger_ones(root, tmp_path, executor):
    (root / "file").write_bytes(os.urandom(PAGE) * 10_001)
    numbers = []

    class Counting(MemoryStore):
        async def complete(self, key, upload, parts, **options):
            numbers.extend(part.number for part in parts)
            await super().complete(key, upload, parts, **options)

    saver = a_saver(Counting(smallest_part=1), root, executor, part_size=PAGE)
    await saver.copy()
    assert (await saver.commit()).head.totals.bytes == 10_001 * PAGE
    assert numbers == list(range(1, len(numbers) + 1))
    assert 1 < len(numbers) <= 10_000


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [10_500, pytest.param(100_000, marks=pytest.mark.slow)])
async def test_p2_a_directory_of_very_many_names_is_split_into_runs_and_comes_back_whole(
    root, tmp_path, executor, count
):
    (root / "d").mkdir()
    for number in range(count):
        (root / "d" / f"{number}").touch()
    head, store = await there_and_back(root, tmp_path / "back", executor, pack_below=PAGE)
    runs = [(found.run, len(found.entries)) for found in await directories(store, head) if found.path == b"d"]
    assert [run for run, _ in runs] == list(range(-(-count // 10_000)))
    assert sum(entries for _, entries in runs) == count
    assert below(tmp_path / "back") == below(root)
