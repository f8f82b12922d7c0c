"""This node's part of a job whose other node goes: what is saved of it, and within which limits."""

import asyncio

import pytest

from agent.daemon.peers import COMMITTING, Limits, Peers
from agent.errors import PermanentError
from agent.jobs.record import record_of
from agent.model.checkpoint import CheckpointId
from agent.slurm.errors import SlurmUnavailable
from tests.fakes.imds_time import play
from tests.fakes.jobs import job
from tests.fakes.node import FakeCopier, FakeSlurmNode, FakeWhoami

PART = record_of(job(nodes=2, node_list="n[1-2]"), [], life=0, rank=1, templates=["/scratch/{job_id}"], quiesced=True)

LIMITS = Limits(bytes=10**9, seconds=60.0)


class Files:
    def __init__(self, part=PART, *, down=False, trouble=()):
        self.part, self.down, self.trouble = part, down, list(trouble)
        self.vouched = []

    async def of_peer(self, job, *, life):
        if self.down:
            raise SlurmUnavailable("squeue", "-h", "Unable to contact slurm controller")
        return self.part if (job, life) == (7, 0) else None

    async def vouch(self, records, saved, *, until):
        self.vouched.append((asyncio.get_running_loop().time(), records, saved))
        return self.trouble


def saved(*, files=None, copier=None, limits=LIMITS, refusal=None, life=0, until=float("inf")):
    """Have the part of job 7 saved; return what is said, the files, the copier and how long it took."""
    files, copier = files or Files(), copier or FakeCopier()

    async def refuses():
        return refusal

    async def scene():
        began = asyncio.get_running_loop().time()
        peers = Peers(
            copier=copier,
            whoami=FakeWhoami(FakeSlurmNode()),
            files=lambda: files,
            limits=limits,
            refusal=refuses,
            fresh=lambda: CheckpointId("20261123T091500.123Z-1a2b3c4d"),
            terms=lambda: {"cache": "/state/base", "exclude": ["docker"]},
            moved=lambda message: None,
        )
        said = await peers.save(7, life, until=began + until)
        return said, asyncio.get_running_loop().time() - began

    said, took = play(scene)
    return said, files, copier, took


def test_the_jobs_own_directory_and_nothing_else_is_saved_and_vouched_for():
    said, files, copier, _ = saved()
    (command,) = copier.saves
    assert (command.reason, command.only, command.cache, command.exclude) == (
        "peer",
        ["/scratch/7"],
        "/state/base",
        ["docker"],
    )
    assert (command.most_bytes, command.jobs) == (10**9, [PART.document()])
    assert [records for _, records, _ in files.vouched] == [[PART]]
    assert said == "job 7: its files of rank 1, life 0, are in 20261123T091500.123Z-1a2b3c4d"
    assert not copier.running


def test_a_job_that_nobody_rescues_and_an_operator_who_does_not_want_it_cost_nothing():
    for without in (saved(life=3), saved(limits=None)):
        assert (without[0], without[2].saves) == ("", [])


@pytest.mark.parametrize("until", [30.0, float("inf")])
def test_what_is_not_saved_in_time_is_left_and_said_and_what_is_counts(until):
    said, files, copier, took = saved(copier=FakeCopier(files=100, seconds=1.0), until=until)
    limit = min(60.0, until)
    assert took <= limit
    assert files.vouched[0][0] - 1000 == pytest.approx(limit - COMMITTING, abs=1)
    assert f"but for {100 - copier.done} files" in said


def test_p6_a_store_that_hangs_holds_the_epilog_no_longer_than_its_time():
    said, files, copier, took = saved(copier=FakeCopier(stalls_at=0, commits=False))
    assert took == pytest.approx(60, abs=0.1)
    assert said == "job 7 will not find its files of this node again: there was no time"
    assert (files.vouched, copier.running) == ([], False)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"files": Files(down=True)}, "Unable to contact"),
        ({"copier": FakeCopier(dies_at=1)}, "it died"),
        ({"copier": FakeCopier(refusals=1)}, "AccessDenied"),
        ({"refusal": PermanentError("use", "the bucket", "no bucket is set")}, "no bucket is set"),
        ({"files": Files(trouble=["job 7 has gone on without these files"])}, "has gone on"),
    ],
)
def test_p6_what_goes_wrong_ends_at_once_and_is_said(broken, why):
    said, _, copier, took = saved(**broken)
    assert why in said
    assert took < 10
    assert not copier.running
