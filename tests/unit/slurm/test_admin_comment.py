"""The AdminComment: what is read back is what was written, others' text stays, and several writers lose nothing."""

import asyncio
from dataclasses import replace

import pytest

from agent.chance import SeededChance
from agent.slurm import admin_comment
from agent.slurm.admin_comment import CHECKPOINTS, AdminComment, AdminComments, Claim, Kept
from agent.slurm.errors import SlurmRefused, SlurmUnavailable
from tests.fakes.imds_time import play

CLAIM = Claim(life=0, node="spot-dy-1", instance_id="i-0123456789abcdef0")


def kept(life=0, rank=0, *, day=23, n=3, node="n1", writer="AROAEXAMPLE:i-0123456789abcdef0"):
    checkpoint = f"202611{day:02}T091500.123Z-1a2b3c4d"
    return Kept(
        life=life, rank=rank, key=f"checkpoints/hpc-0badcafe/{node}/{writer}/{checkpoint}.{n}.json", digest="ab" * 32
    )


class Job:
    """squeue and scontrol for one job; `between` runs between another's reading and writing."""

    def __init__(self, comment="", *, restarts=0, state="RUNNING"):
        self.comment, self.restarts, self.state = comment, restarts, state
        self.writes = 0

    async def run(self, *arguments):
        if arguments[0] == "update":
            await asyncio.sleep(0)
            self.comment = arguments[2].removeprefix("AdminComment=")
            self.writes += 1
            return ""
        answer = f"{self.restarts:<16}{self.state:<24}{self.comment or '(null)':<65536}\n"
        await asyncio.sleep(0)
        return answer


class Refusing:
    def __init__(self, error):
        self.error = error

    async def run(self, *_arguments):
        raise self.error


def comments(job, seed=1, **programs):
    return AdminComments(**{"squeue": job, "scontrol": job, **programs}, chance=SeededChance(seed))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(admin_comment, "SETTLING", 0.0)


@pytest.mark.parametrize("before", ["", "charged to physics", "a  b\nhpc-agent:2 x"])
def test_what_is_written_is_read_back(before):
    comment = AdminComment(before=before).claimed(CLAIM).keeping(kept()).keeping(kept(rank=1))
    assert AdminComment.parse(str(comment)) == comment


@pytest.mark.parametrize("text", ["", "(something)", "not hpc-agent:1x", "hpc-agent: drained", "head=0/0/a/b/c/d"])
def test_text_of_others_is_no_contract_and_stays(text):
    assert str(AdminComment.parse(text)) == text
    assert AdminComment.parse(text).kept == ()


def test_text_that_an_administrator_adds_behind_ours_stays():
    comment = AdminComment.parse(f"hpc-agent:1 {kept()} überprüft von root").claimed(CLAIM)
    assert comment.kept == (kept(),)
    assert comment.before == "überprüft von root"


@pytest.mark.parametrize(
    "token",
    [
        str(kept()).replace("ab" * 32, "AB" * 32),
        str(kept()).replace("ab" * 32, "ab" * 31),
        str(kept()).replace("n1", "../n1"),
        str(kept()).replace("head=0", "head=-1"),
        str(kept()).replace("head=0", "head=00"),
    ],
)
def test_a_head_that_is_not_one_to_the_letter_is_none(token):
    assert AdminComment.parse(f"hpc-agent:1 {token}").kept == ()


def test_of_each_checkpoint_the_newest_commit_is_kept_and_of_each_rank_the_newest_checkpoints():
    comment = AdminComment()
    for day in range(1, CHECKPOINTS + 3):
        comment = comment.keeping(kept(day=day, n=1)).keeping(kept(day=day, n=10)).keeping(kept(day=day, n=9))
    assert [(one.checkpoint[6:8], one.age[2]) for one in comment.of(0)] == [("05", 10), ("04", 10), ("03", 10)]


def test_a_life_that_is_past_leaves_nothing_any_more():
    comment = AdminComment().keeping(kept(life=1))
    assert comment.keeping(kept(life=0, day=30)) == comment
    assert comment.claimed(replace(CLAIM, life=1)).claimed(CLAIM).claim == replace(CLAIM, life=1)


def test_its_length_is_bounded_and_the_newest_stay(monkeypatch):
    monkeypatch.setattr(admin_comment, "LONGEST", 5_000)
    comment = AdminComment(before="x")
    for day in (1, 2):
        for rank in range(20):
            comment = comment.keeping(kept(rank=rank, day=day))
    assert len(str(comment)) <= 5_000
    assert all(comment.of(rank)[0].checkpoint.startswith("20261102") for rank in range(20))


def test_a_head_that_no_reader_would_accept_is_refused():
    with pytest.raises(ValueError, match="could be read back"):
        AdminComment().keeping(replace(kept(), digest="short"))


async def test_a_claim_stands_once_and_the_second_to_ask_learns_whose():
    job = Job("charged to physics")
    other = replace(CLAIM, node="spot-dy-2")
    assert await comments(job).claim("7", CLAIM) == CLAIM
    assert await comments(job).claim("7", other) == CLAIM
    assert job.comment.startswith("charged to physics hpc-agent:1 requeue=0/spot-dy-1/")


async def test_a_new_life_is_claimed_anew():
    job = Job(str(AdminComment().claimed(CLAIM)), restarts=1)
    mine = replace(CLAIM, life=1, node="n9")
    assert await comments(job).claim("7", mine) == mine


async def test_what_eight_nodes_write_at_the_same_time_all_stands():
    job = Job()
    all_kept = await asyncio.gather(*(comments(job, seed=n).keep("7", kept(rank=n)) for n in range(8)))
    assert all(all_kept)
    assert {one.rank for one in AdminComment.parse(job.comment).kept} == set(range(8))


def test_what_nodes_write_one_after_the_other_stands_also_where_each_command_takes_long():
    class Slow(Job):
        async def run(self, *arguments):
            answer = f"{self.restarts:<16}{self.state:<24}{self.comment or '(null)':<65536}\n"
            await asyncio.sleep(1)
            return await super().run(*arguments) if arguments[0] == "update" else answer

    async def scene():
        job = Slow()

        async def keep(rank):
            await asyncio.sleep(0.9 * rank)  # each has read before the one before it wrote
            return await comments(job, seed=rank).keep("7", kept(rank=rank))

        assert all(await asyncio.gather(*(keep(rank) for rank in range(4))))
        return job

    assert {one.rank for one in AdminComment.parse(play(scene).comment).kept} == set(range(4))


@pytest.mark.parametrize(
    ("restarts", "state", "is_late"),
    [
        (0, "RUNNING", False),
        (1, "PENDING", False),
        (1, "COMPLETING", False),
        (1, "RUNNING", True),
        (2, "PENDING", True),
    ],
)
async def test_a_node_that_lives_on_writes_nothing_into_the_next_life_of_a_job(restarts, state, is_late):
    job = Job(restarts=restarts, state=state)
    assert await comments(job).keep("7", kept(life=0)) is not is_late
    assert job.writes == (0 if is_late else 1)


async def test_a_job_that_slurm_has_forgotten_is_none():
    gone = Refusing(SlurmUnavailable("squeue", "-h", "slurm_load_jobs error: Invalid job id specified"))
    assert await comments(gone).read("7") is None
    assert await comments(gone).claim("7", CLAIM) is None
    assert not await comments(gone).keep("7", kept())


@pytest.mark.parametrize("error", [SlurmUnavailable("squeue", "-h", "timed out"), SlurmRefused("squeue", "-h", "no")])
async def test_p5_no_answer_is_not_an_empty_comment(error):
    job = Job("kept")
    with pytest.raises(type(error)):
        await comments(job, squeue=Refusing(error)).claim("7", CLAIM)
    with pytest.raises(type(error)):
        await comments(job, scontrol=Refusing(error)).claim("7", CLAIM)
    assert job.comment == "kept"


async def test_one_who_is_written_over_for_ever_says_so():
    job = Job()

    class Forgetting:
        async def run(self, *_arguments):
            return ""

    with pytest.raises(SlurmUnavailable, match="changed by others"):
        await comments(job, scontrol=Forgetting()).claim("7", CLAIM)
