"""One contract for every copier: the real process against a real S3, and the fake that the simulations use."""

import asyncio
import os
import signal
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.copier.protocol import Committed, Copied, Moved, Record, Save, Scan
from agent.daemon.copier import CopierGone, CopierProcess, CopierRefused
from agent.daemon.saving import setup_of
from agent.daemon.spare import Spare
from agent.evacuation.record import saved_of
from agent.settings import load
from tests.fakes.node import ME, FakeCopier

ID = "20261123T091500.000Z-1a2b3c4d"


class RealBench:
    """A copier process that saves three files to SeaweedFS."""

    def __init__(self, tmp_path, server):
        self.scratch = tmp_path / "scratch"
        self.scratch.mkdir()
        for number in range(3):
            (self.scratch / f"f{number}").write_bytes(b"x" * number)
        config = tmp_path / "config.toml"
        config.write_text(
            f'[scratch]\npaths = ["{self.scratch}"]\nrequire_mount = false\n[s3]\nbucket = "{server.bucket()}"\n'
        )
        self._before = dict(os.environ)
        os.environ.update(server.environment)
        self.setup = setup_of(load(config, os.environ))
        self.spare = Spare()
        self.copier = CopierProcess(self.setup, niceness=0, spare=self.spare)

    def kill(self):
        os.kill(self.copier._child.process.pid, signal.SIGKILL)

    def refuse(self):
        self.scratch.rename(self.scratch.with_name("gone"))

    async def tidy(self):
        if (child := self.spare.take()) is not None:
            await child.end()
        os.environ.clear()
        os.environ.update(self._before)


class FakeBench:
    def __init__(self):
        self.copier = FakeCopier(files=3, seconds=0.01)

    def kill(self):
        self.copier.running = False
        self.copier.dies_at = self.copier.done

    def refuse(self):
        self.copier.refusals = 1

    async def tidy(self):
        pass


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.s3)])
async def bench(request, tmp_path):
    if request.param == "fake":
        bench = FakeBench()
    else:
        server = request.getfixturevalue("s3_server")
        bench = await asyncio.to_thread(RealBench, tmp_path, server)
    yield bench
    await bench.copier.end()
    await bench.tidy()


def command(**parts):
    return Save(**{"checkpoint": ID, "reason": "evacuation", "node": asdict(ME), "commit_every": 1.0} | parts)


async def test_a_save_is_told_of_as_it_goes_and_a_finish_commits_it(bench):
    heard = []
    assert await bench.copier.save(command(), heard.append) == Copied()
    saved = saved_of(dict((await bench.copier.finish(heard.append)).saved))
    assert saved.complete
    assert saved.totals.files == 3
    assert saved.checkpoint == ID
    moved = [message.progress.files_done for message in heard if isinstance(message, Moved)]
    assert moved == sorted(moved)
    heads = [message.saved["n"] for message in heard if isinstance(message, Committed)]
    assert heads == sorted(heads)


async def test_a_deadline_may_move_at_any_time(bench):
    def listen(_message):
        bench.copier.move(time.monotonic() + 60)

    bench.copier.move(time.monotonic())
    assert await bench.copier.save(command(until=time.monotonic() + 600), listen) == Copied()
    bench.copier.move(None)
    assert saved_of(dict((await bench.copier.finish(listen)).saved)).complete


async def test_a_look_tells_what_is_not_saved_and_after_a_save_that_nothing_is(bench, tmp_path):
    began = time.time()
    before = await bench.copier.scan(Scan(cache=str(tmp_path / "base")), lambda message: None)
    assert (before.files, before.total_files) == (3, 3)
    assert before.bytes == before.total_bytes == 3
    assert began - 60 < before.oldest <= time.time()
    assert before.cpu_seconds > 0
    assert before.seconds > 0
    await bench.copier.save(command(cache=str(tmp_path / "base")), lambda message: None)
    await bench.copier.finish(lambda message: None)
    after = await bench.copier.scan(Scan(cache=str(tmp_path / "base")), lambda message: None)
    assert (after.files, after.bytes, after.oldest, after.total_files) == (0, 0, None, 3)


async def test_a_look_at_what_is_not_there_is_refused(bench):
    bench.refuse()
    with pytest.raises(CopierRefused):
        await bench.copier.scan(Scan(), lambda message: None)


async def test_finishing_what_was_never_begun_is_gone(bench):
    with pytest.raises(CopierGone):
        await bench.copier.finish(lambda message: None)


async def test_a_record_needs_no_save(bench):
    record = Record(name=f"outcomes/lab/{datetime.now(UTC):%Y-%m-%d}/x.json", document={"outcome": "NOTHING"})
    await bench.copier.record(record, lambda message: None)
    await bench.copier.record(record, lambda message: None)


async def test_p7_a_copier_that_was_killed_says_so_and_the_next_one_saves(bench):
    await bench.copier.save(command(), lambda message: None)
    bench.kill()
    with pytest.raises(CopierGone):
        await bench.copier.finish(lambda message: None)
    assert await bench.copier.save(command(), lambda message: None) == Copied()
    assert saved_of(dict((await bench.copier.finish(lambda message: None)).saved)).complete


async def test_what_cannot_be_done_is_refused(bench):
    bench.refuse()
    with pytest.raises(CopierRefused):
        await bench.copier.save(command(), lambda message: None)


async def test_ending_twice_and_ending_what_never_began_is_no_error(bench):
    await bench.copier.end()
    await bench.copier.save(command(), lambda message: None)
    await bench.copier.end()
    await bench.copier.end()


@pytest.mark.s3
async def test_a_copier_dies_with_its_parent(tmp_path, s3_server):
    """The kernel kills it (PR_SET_PDEATHSIG); the end of the socket would, too."""
    bench = await asyncio.to_thread(RealBench, tmp_path, s3_server)
    try:
        program = (
            "import asyncio,os,sys\nfrom pathlib import Path\nfrom agent.daemon.child import Child\n"
            "from agent.daemon.saving import setup_of\nfrom agent.settings import load\n"
            "async def main():\n c = await Child.start(setup_of(load(Path(sys.argv[1]), os.environ)))\n"
            " print(c.process.pid, flush=True)\n await asyncio.sleep(60)\nasyncio.run(main())"
        )
        parent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, str(tmp_path / "config.toml")), stdout=asyncio.subprocess.PIPE
        )
        pid = int(await asyncio.wait_for(parent.stdout.readline(), 20))
        await asyncio.sleep(1.5)
        parent.kill()
        await parent.wait()
        async with asyncio.timeout(5):
            while _runs(pid):  # noqa: ASYNC110 - a process of nobody's can only be looked at
                await asyncio.sleep(0.05)
    finally:
        await bench.tidy()


def _runs(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
