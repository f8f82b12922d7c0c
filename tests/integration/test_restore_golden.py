"""A checkpoint that version 1 wrote restores for ever: tests/golden/checkpoint-v1 is never edited."""

import base64
import hashlib
import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.checkpoint.catalog import find, list_checkpoints
from agent.checkpoint.restore import Restorer
from agent.checkpoint.verify import verify
from agent.checksum import crc64nvme
from agent.store.memory import MemoryStore
from tests.fakes.shelf import described

GOLDEN = Path(__file__).parents[1] / "golden" / "checkpoint-v1"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())
WHOLE, PARTIAL = sorted(EXPECTED)
IS_ROOT = os.geteuid() == 0
LETTERS = {stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l"}


@pytest.fixture
def executor():
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
async def store():
    store = MemoryStore()
    for path in (GOLDEN / "objects").rglob("*"):
        if path.is_file():
            body = path.read_bytes()
            await store.put(f"pre/{path.relative_to(GOLDEN / 'objects')}", body, crc64nvme=crc64nvme(body))
    return store


def compared(expected, found):
    """Both sides of the comparison for one path, in the words of expected.json."""
    content = found["content"]
    said = {"type": LETTERS[found["type"]], "mtime": found["mtime"]}
    if IS_ROOT or expected["type"] == "l":
        said["mode"] = found["mode"]
    if IS_ROOT:
        said["owner"] = list(found["owner"])
        said["xattrs"] = {name: base64.b64encode(value).decode() for name, value in found["xattrs"].items()}
    if "content" in expected:
        said["content"] = base64.b64encode(content).decode()
    if "sha256" in expected:
        said["sha256"] = hashlib.sha256(content).hexdigest()
    if "link" in expected:
        said["link"] = found["link"].decode()
    return said


async def restored(store, executor, checkpoint, target):
    commit = await find(store, "pre", checkpoint)
    restorer = Restorer(store, "pre", target=target, executor=executor, owner=IS_ROOT)
    return commit, await restorer.restore(commit)


@pytest.mark.parametrize("checkpoint", [WHOLE, PARTIAL])
async def test_p2_a_checkpoint_of_version_1_restores_exactly(store, executor, tmp_path, checkpoint):
    commit, done = await restored(store, executor, checkpoint, tmp_path / "to")
    assert done.problems == ()
    totals = commit.head.totals
    assert (done.files, done.directories, done.symlinks) == (totals.files, totals.directories, totals.symlinks)
    found = {path.decode("latin-1"): said for path, said in described(tmp_path / "to").items()}
    expected = EXPECTED[checkpoint]
    unsaid = {".", "local", "local/\xff", "local/\xff/deep"} if checkpoint == PARTIAL else set()
    assert set(found) == set(expected) | unsaid
    for path, said in expected.items():
        mine = compared(said, found[path])
        assert {name: value for name, value in said.items() if name in mine} == mine, path


async def test_p3_the_partial_one_says_what_is_missing(store, executor, tmp_path):
    commit, done = await restored(store, executor, PARTIAL, tmp_path / "to")
    assert not commit.head.complete
    assert commit.head.left.paths == ("/scratch/too large",)
    assert done.torn == 1


async def test_the_catalog_knows_both_and_finds_the_complete_one(store):
    listed = await list_checkpoints(store, "pre")
    assert [(each.where.checkpoint, each.where.n) for each in listed] == [(PARTIAL, 4), (WHOLE, 2)]
    assert (await find(store, "pre", None)).head.checkpoint == WHOLE
    assert (await find(store, "pre", None, any_state=True)).head.checkpoint == PARTIAL


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("checkpoint", [WHOLE, PARTIAL])
async def test_the_stored_objects_verify(store, executor, checkpoint, deep):
    commit = await find(store, "pre", checkpoint)
    found = await verify(store, "pre", commit, executor=executor, deep=deep)
    assert found.problems == ()


def test_packs_are_plain_tar_archives():
    for pack in GOLDEN.rglob("p*.tar"):
        listed = subprocess.run(["tar", "-tf", pack], check=True, capture_output=True, text=True)
        assert "scratch/" in listed.stdout


def test_the_maker_changes_nothing_that_is_there():
    before = {path: path.stat().st_mtime_ns for path in GOLDEN.rglob("*")}
    maker = [sys.executable, "-m", "tests.golden.make_checkpoint_v1"]
    ended = subprocess.run(maker, check=False, capture_output=True, text=True, cwd=GOLDEN.parents[2])
    assert ended.returncode == 1
    assert "never changed" in ended.stderr
    assert {path: path.stat().st_mtime_ns for path in GOLDEN.rglob("*")} == before
