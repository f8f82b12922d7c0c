import asyncio
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from agent.checkpoint import receipts as module
from agent.checkpoint.receipts import ObjectReceipt, Receipts, UploadReceipt, signature
from agent.model.checkpoint import Stat
from agent.store.base import Part, UploadId

STAT = Stat(mode=0o644, uid=0, gid=0, size=5, mtime_ns=1, ctime_ns=2, inode=3)
OBJECT = ObjectReceipt(
    path=b"/scratch/\xff",
    signature=signature(STAT),
    key="data/-/p/f1/x",
    crc64nvme=7,
    extents=((0, 4),),
    xattrs={"user.a": b"\0"},
    settled=True,
)
UPLOAD = UploadReceipt(
    path=b"/scratch/big",
    signature=signature(STAT),
    key="data/-/p/f2/big",
    upload=UploadId("u1"),
    part_size=8,
    extents=((0, 4),),
    settled=True,
)
PART = Part(number=2, etag="e", size=8, crc64nvme=9)


@pytest.fixture
def executor():
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def path(tmp_path):
    return tmp_path / "receipts.jsonl"


async def filled(path, executor):
    receipts = Receipts.load(path)
    receipts.begin(pass_id="p", checkpoint="c", prefix="hpc")
    receipts.stored(OBJECT)
    receipts.begun(UPLOAD)
    receipts.part(UPLOAD.upload, PART)
    receipts.head(n=4, key="k", digest="d", body=b"{}")
    receipts.committed(4)
    await receipts.flush(executor)
    receipts.close()
    return receipts


async def test_p7_what_was_written_is_known_after_a_restart(path, executor):
    await filled(path, executor)
    again = Receipts.load(path)
    assert again.object_of(OBJECT.path, STAT) == OBJECT
    found = again.upload_of(UPLOAD.path, STAT)
    assert (found.upload, found.key, found.parts) == ("u1", UPLOAD.key, {2: PART})
    assert again.highest_head == 4
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("field", ["size", "mtime_ns", "ctime_ns", "inode"])
async def test_a_file_that_changed_is_not_known(path, executor, field):
    receipts = await filled(path, executor)
    values = {name: getattr(STAT, name) for name in Stat.__slots__}
    other = Stat(**{**values, field: 99})
    assert receipts.object_of(OBJECT.path, other) is None
    assert receipts.upload_of(UPLOAD.path, other) is None


async def test_another_checkpoint_or_prefix_starts_with_nothing(path, executor):
    await filled(path, executor)
    for checkpoint, prefix in (("d", "hpc"), ("c", "other")):
        receipts = Receipts.load(path)
        receipts.begin(pass_id="q", checkpoint=checkpoint, prefix=prefix)
        assert receipts.object_of(OBJECT.path, STAT) is None
        assert receipts.upload_of(UPLOAD.path, STAT) is None
        assert receipts.highest_head == 0
        receipts.close()


async def test_an_object_ends_the_upload_of_its_file(path, executor):
    receipts = await filled(path, executor)
    done = ObjectReceipt(
        path=UPLOAD.path,
        signature=UPLOAD.signature,
        key=UPLOAD.key,
        crc64nvme=1,
        extents=None,
        xattrs={},
        settled=False,
    )
    receipts.stored(done)
    await receipts.flush(executor)
    receipts.close()
    for one in (receipts, Receipts.load(path)):
        assert one.upload_of(UPLOAD.path, STAT) is None
        assert one.object_of(UPLOAD.path, STAT) == done


async def test_p7_a_line_cut_at_any_byte_costs_that_line_only(path, executor):
    await filled(path, executor)
    whole = path.read_bytes()
    second = whole.index(b"\n") + 1
    end = whole.index(b"\n", second) + 1
    for cut in range(second, end):
        path.write_bytes(whole[:cut])
        again = Receipts.load(path)
        known = again.object_of(OBJECT.path, STAT) is not None
        assert known == (cut >= end - 1)
        again.begin(pass_id="p2", checkpoint="c", prefix="hpc")
        again.begun(UPLOAD)
        await again.flush(executor)
        again.close()
        third = Receipts.load(path)
        assert third.upload_of(UPLOAD.path, STAT) is not None
        assert (third.object_of(OBJECT.path, STAT) is not None) == known


async def test_lines_of_another_version_are_passed_over(path, executor):
    path.write_bytes(b'{"r":"object"}\n[]\n{"r":"future"}\n{"r":"part","upload":"u","n":"x"}\n7\n')
    receipts = await filled(path, executor)
    assert Receipts.load(path).object_of(OBJECT.path, STAT) == receipts.object_of(OBJECT.path, STAT) == OBJECT


async def test_lines_of_many_workers_stay_whole_and_in_order(path, executor):
    receipts = Receipts.load(path)

    async def work(n):
        receipts.head(n=n, key="k", digest="d", body=b"{}")
        await receipts.flush(executor)

    await asyncio.gather(*(work(n) for n in range(500)))
    receipts.close()
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == list(range(500))


async def test_p6_a_full_disk_is_trouble_and_stops_nothing(executor):
    receipts = Receipts.load(None)
    receipts._path = Path("/dev/full")  # reading it would never end
    receipts.head(n=1, key="k", digest="d", body=b"{}")
    await receipts.flush(executor)
    assert "No space left" in receipts.trouble
    receipts.stored(OBJECT)
    assert receipts.object_of(OBJECT.path, STAT) == OBJECT


async def test_p6_a_directory_that_is_not_there_is_trouble(tmp_path, executor):
    receipts = Receipts.load(tmp_path / "nothing" / "receipts")
    receipts.head(n=1, key="k", digest="d", body=b"{}")
    await receipts.flush(executor)
    assert "No such file" in receipts.trouble


async def test_p6_a_file_that_can_not_be_read_is_trouble(tmp_path):
    assert "Is a directory" in Receipts.load(tmp_path).trouble


async def test_p6_a_disk_that_hangs_is_given_up(tmp_path, executor, monkeypatch):
    os.mkfifo(tmp_path / "hangs")
    monkeypatch.setattr(module, "WRITE_SECONDS", 0.01)  # a constant: the real one is too long for a test
    receipts = Receipts.load(None)
    receipts._path = tmp_path / "hangs"
    receipts.head(n=1, key="k", digest="d", body=b"{}")
    await receipts.flush(executor)
    assert "did not answer" in receipts.trouble
    reader = os.open(tmp_path / "hangs", os.O_RDONLY | os.O_NONBLOCK)  # lets the thread go, whenever it comes there
    executor.shutdown()
    os.close(reader)


async def test_without_a_path_nothing_is_remembered(executor):
    receipts = await filled(None, executor)
    assert receipts.object_of(OBJECT.path, STAT) is None
    assert not receipts.trouble


class Held(ThreadPoolExecutor):
    """Runs nothing before it is let go."""

    def __init__(self):
        super().__init__(2)
        self.go = threading.Event()

    def submit(self, job, *args):
        return super().submit(lambda: (self.go.wait(30), job(*args)))


@pytest.mark.parametrize("write", [Receipts.flush, Receipts.rotate])
async def test_a_write_that_is_cancelled_has_ended_before_the_next_one_begins(path, write):
    with Held() as executor:
        receipts = Receipts.load(path)
        receipts.begin(pass_id="p", checkpoint="c", prefix="hpc")
        receipts.stored(OBJECT)
        writing = asyncio.create_task(write(receipts, executor))
        await asyncio.sleep(0)
        writing.cancel()
        done, _ = await asyncio.wait([writing], timeout=0.05)
        assert not done
        executor.go.set()
        await asyncio.wait([writing])
        assert writing.cancelled()
        receipts.stored(replace(OBJECT, path=b"/scratch/other"))
        await receipts.flush(executor)
        receipts.close()
    assert not receipts.trouble
    known = Receipts.load(path)
    assert known.object_of(OBJECT.path, STAT) == OBJECT
    assert known.object_of(b"/scratch/other", STAT)


async def test_what_a_segment_holds_is_forgotten_and_the_rest_is_kept_word_for_word(path, executor):
    receipts = await filled(path, executor)
    packed = [replace(OBJECT, path=b"/scratch/%d" % n, key="data/-/p/p1.tar", extents=None) for n in range(3)]
    alone = replace(OBJECT, path=b"/scratch/alone", key="data/-/p/f9/alone")
    receipts.packed(packed)
    receipts.stored(alone)
    receipts.in_segment([OBJECT.path, packed[0].path, alone.path])
    await receipts.rotate(executor)
    receipts.close()
    said = {json.loads(line).get("key") for line in path.read_bytes().splitlines()}
    assert said == {None, "k", UPLOAD.key, "data/-/p/p1.tar"}
    again = Receipts.load(path)
    assert again.object_of(packed[1].path, STAT) == packed[1]
    assert again.upload_of(UPLOAD.path, STAT).parts == {2: PART}


async def test_p7_a_last_line_without_its_end_is_kept_whole(path, executor):
    await filled(path, executor)
    path.write_bytes(b"\n".join(path.read_bytes().splitlines()[:2]))
    again = Receipts.load(path)
    again.begin(pass_id="q", checkpoint="c", prefix="hpc")
    again.stored(replace(OBJECT, path=b"/scratch/other", key="data/-/q/f1/other"))
    await again.rotate(executor)
    again.close()
    assert Receipts.load(path).object_of(OBJECT.path, STAT) == OBJECT


async def test_p7_a_file_whose_upload_goes_on_has_it_known_whatever_its_former_pack_says(path, executor):
    receipts = Receipts.load(path)
    receipts.begin(pass_id="p", checkpoint="c", prefix="hpc")
    former = [replace(OBJECT, path=name, key="data/-/p/p1.tar", extents=None) for name in (UPLOAD.path, b"/scratch/x")]
    receipts.packed(former)
    receipts.begun(UPLOAD)
    await receipts.rotate(executor)
    receipts.close()
    assert Receipts.load(path).upload_of(UPLOAD.path, STAT) == UPLOAD
