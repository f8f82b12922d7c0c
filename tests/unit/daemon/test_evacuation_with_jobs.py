"""An evacuation of a node with jobs, in simulated time: both orders, and what can go wrong with Slurm meanwhile."""

import asyncio

import pytest

from agent.evacuation.jobs import Dealt
from agent.evacuation.phases import Phase
from agent.evacuation.record import state_document, state_of
from agent.evacuation.state import Effects, Outcome
from agent.model.drain import Drain
from agent.model.job import Wishes
from agent.model.mode import Mode
from agent.model.notice import NoticeKind
from agent.slurm.errors import SlurmRefused, SlurmUnavailable
from agent.slurm.requeue import Verdict
from tests.fakes.imds_time import play
from tests.fakes.jobs import FakeJobs, job
from tests.fakes.node import FakeCopier, FakeSlurmNode
from tests.fakes.stage import Scene

WHOLE = [
    Phase.DRAINING,
    Phase.COPYING,
    Phase.STOPPING,
    Phase.DELTA,
    Phase.COMMITTING,
    Phase.RELEASING,
    Phase.RESTING,
]
END = 120.0


def evacuated(stage_of, *, seconds=END, meanwhile=None):
    """Play a notice to its rest; return the stage, with `began`, the monotonic time of the notice."""

    async def scene():
        async with stage_of().running() as stage:
            stage.began = asyncio.get_running_loop().time()
            stage.notice(seconds)
            if meanwhile is not None:
                await meanwhile(stage)
            await stage.until(Phase.RESTING, within=seconds + 1)
            return stage

    return play(scene)


def dealt(stage):
    return {ref: held.dealt for ref, held in stage.runner.state.jobs.items()}


def outcome_of(stage):
    """What the outcome record says of each job."""
    (record,) = stage.copier.records
    return {one["job"]: (one["done"], one["why"]) for one in record.document["jobs"]}


def entered(stage, phase):
    return stage.runner.state.entered[phase] - stage.began


def test_without_the_barrier_a_job_is_frozen_saved_committed_and_only_then_requeued():
    stage = evacuated(lambda: Scene(jobs=FakeJobs(job())))
    assert stage.phases[-7:] == WHOLE
    assert stage.jobs.words() == ["freeze 7", "requeue 7", "thaw 7"]
    frozen, requeued = stage.jobs.at("freeze", "7"), stage.jobs.at("requeue", "7")
    assert frozen - stage.began <= entered(stage, Phase.DELTA) <= entered(stage, Phase.RELEASING)
    assert requeued - stage.began >= entered(stage, Phase.RELEASING)
    assert stage.runner.state.outcome is Outcome.COMPLETE
    assert outcome_of(stage) == {"7": ("requeued", "")}
    assert len(stage.copier.saves) == 2
    assert stage.copier.saves[0].checkpoint == stage.copier.saves[1].checkpoint


def test_with_the_barrier_it_is_requeued_first_and_the_delta_waits_for_its_processes():
    jobs = FakeJobs(job(), ends_after=5.0)
    stage = evacuated(lambda: Scene(jobs=jobs, is_barrier=True))
    assert stage.phases[-7:] == WHOLE
    assert jobs.words() == ["requeue 7"]
    requeued = jobs.at("requeue", "7") - stage.began
    assert entered(stage, Phase.DELTA) == pytest.approx(requeued + 5, abs=1)
    assert dealt(stage) == {"7": Dealt.REQUEUED}


@pytest.mark.parametrize("is_barrier", [False, True])
def test_a_job_runs_for_most_of_the_window(is_barrier):
    jobs = FakeJobs(job(), kill_wait=5.0)
    stage = evacuated(lambda: Scene(jobs=jobs, is_barrier=is_barrier))
    verb = "requeue" if is_barrier else "freeze"
    assert jobs.at(verb, "7") - stage.began >= 0.6 * END


def test_with_the_kill_wait_of_parallelcluster_a_job_runs_for_all_that_the_fixed_costs_leave():
    """120 s less 15 of margin, 30 of KillWait, 2 until the Epilog and 3 for the last delta."""
    jobs = FakeJobs(job(), kill_wait=30.0)
    stage = evacuated(lambda: Scene(jobs=jobs, is_barrier=True))
    assert jobs.at("requeue", "7") - stage.began == pytest.approx(70, abs=1.5)


def test_a_job_that_ignores_term_is_waited_for_no_longer_than_the_delta_allows():
    jobs = FakeJobs(job(), ends_after=1000.0)
    stage = evacuated(lambda: Scene(jobs=jobs, is_barrier=True))
    assert entered(stage, Phase.COMMITTING) <= END - 10
    assert stage.runner.state.outcome is Outcome.COMPLETE
    assert outcome_of(stage)["7"][0] == "requeued"


def test_a_node_without_jobs_is_saved_at_once():
    stage = evacuated(Scene)
    assert Phase.STOPPING not in stage.phases
    assert entered(stage, Phase.RESTING) < 10
    assert len(stage.copier.saves) == 1


def test_what_is_there_is_committed_before_the_jobs_are_waited_for():
    copier = FakeCopier()

    async def meanwhile(stage):
        await asyncio.sleep(20)
        assert stage.runner.state.phase is Phase.COPYING
        assert stage.runner.state.outcome is Outcome.COMPLETE

    evacuated(lambda: Scene(copier=copier, jobs=FakeJobs(job())), meanwhile=meanwhile)


def test_jobs_that_cannot_be_requeued_are_left_alone_and_named():
    jobs = FakeJobs(job(1, is_requeueable=False), job(2, is_batch=False, name="bash"))
    stage = evacuated(lambda: Scene(jobs=jobs))
    assert jobs.words("freeze", "requeue", "signal") == []
    assert [word.split()[:2] for word in jobs.words()] == [["notify", "2"]]
    assert outcome_of(stage) == {
        "1": ("left", "submitted with --no-requeue"),
        "2": ("left", "interactive: only batch jobs can be requeued"),
    }


def test_interactive_users_are_told_once_how_long_they_have():
    jobs = FakeJobs(job(2, is_batch=False), job(3))
    evacuated(lambda: Scene(jobs=jobs))
    (told,) = jobs.words("notify")
    assert "this node goes in 120 s (spot-terminate)" in told


def test_p10_jobs_of_several_users_are_each_named_with_their_user_and_their_end():
    jobs = FakeJobs(job(1), job(2, uid=4343, user="bob", is_requeueable=False), job(3, uid=4343, user="bob"))

    async def meanwhile(stage):
        await asyncio.sleep(30)
        jobs.ends("3")

    stage = evacuated(lambda: Scene(jobs=jobs), meanwhile=meanwhile)
    (record,) = stage.copier.records
    assert [(one["job"], one["user"], one["done"]) for one in record.document["jobs"]] == [
        ("1", "alice", "requeued"),
        ("2", "bob", "left"),
        ("3", "bob", "ended"),
    ]


def test_an_array_task_is_told_by_its_array_and_task():
    jobs = FakeJobs(job(3, array=3, task=2))
    evacuated(lambda: Scene(jobs=jobs))
    assert jobs.words() == ["freeze 3", "requeue 3_2", "thaw 3"]


def test_only_a_job_that_asked_for_it_is_signalled_its_grace_before_it_is_stopped():
    jobs = FakeJobs(job(1, comment="hpc-agent:signal=USR1,grace=20s"), job(2))
    stage = evacuated(lambda: Scene(jobs=jobs))
    assert jobs.words("signal") == ["signal 1 USR1"]
    assert jobs.at("freeze", "1") - jobs.at("signal", "1", "USR1") == pytest.approx(20, abs=0.5)
    assert jobs.at("freeze", "2") == pytest.approx(jobs.at("freeze", "1"), abs=0.5)
    assert [one["signalled"] for one in stage.copier.records[0].document["jobs"]] == [True, False]


def test_the_operators_signal_is_for_all_jobs_that_are_requeued_and_do_not_say_otherwise():
    jobs = FakeJobs(
        job(1),
        job(2, comment="hpc-agent:signal=none"),
        job(3, comment="hpc-agent:signal=USR2,grace=40s"),
        job(4, comment="hpc-agent:signal=nothing"),  # not understood: who knows what it traps
        job(5, is_requeueable=False),  # nothing would bring it back
        job(6, comment="night run"),
    )
    stage = evacuated(lambda: Scene(jobs=jobs, default=Wishes(signal="TERM", grace=10.0)))
    assert sorted(jobs.words("signal")) == ["signal 1 TERM", "signal 3 USR2", "signal 6 TERM"]
    for ref, signal, grace in (("1", "TERM", 10), ("3", "USR2", 40)):
        assert jobs.at("freeze", ref) - jobs.at("signal", ref, signal) == pytest.approx(grace, abs=0.5)
    assert {ref: one.signalled for ref, one in stage.runner.state.jobs.items()} == {
        "1": True,
        "2": False,
        "3": True,
        "4": False,
        "5": False,
        "6": True,
    }


def test_a_job_that_is_not_stopped_and_asked_for_a_signal_gets_it_at_once_and_once():
    jobs = FakeJobs(job(1, is_requeueable=False, comment="hpc-agent:signal=USR1,grace=20s"), job(2))
    stage = evacuated(lambda: Scene(jobs=jobs))
    assert jobs.words("signal") == ["signal 1 USR1"]
    assert jobs.at("signal", "1", "USR1") - stage.began < 5
    assert outcome_of(stage)["1"] == ("left", "submitted with --no-requeue")
    assert stage.runner.state.jobs["1"].signalled


class Deaf(FakeJobs):
    """Jobs of which job 8 can't be signalled."""

    async def signal(self, ref, name):
        if ref == "8":
            raise SlurmUnavailable("scancel", "--full", "exit code 1")
        await super().signal(ref, name)


def test_a_job_that_can_not_be_signalled_keeps_nobody_from_seeing_the_others():
    stays = {"is_requeueable": False, "comment": "hpc-agent:signal=USR1"}
    jobs = Deaf(job(7), job(8, **stays), job(9, **stays))

    async def meanwhile(stage):
        await asyncio.sleep(30)
        jobs.ends("7")

    stage = evacuated(lambda: Scene(jobs=jobs), meanwhile=meanwhile)
    assert jobs.words("signal") == ["signal 9 USR1"]
    assert dealt(stage)["7"] is Dealt.ENDED
    assert entered(stage, Phase.COMMITTING) < 35
    assert [held.signalled for held in stage.runner.state.jobs.values()] == [False, False, True]


def test_a_job_that_can_not_be_signalled_is_stopped_in_time_all_the_same():
    jobs = Deaf(job(8, comment="hpc-agent:signal=USR1,grace=20s"), job(9))
    stage = evacuated(lambda: Scene(jobs=jobs))
    assert jobs.at("freeze", "8") == pytest.approx(jobs.at("freeze", "9"), abs=0.5)
    assert dealt(stage) == {"8": Dealt.REQUEUED, "9": Dealt.REQUEUED}


def test_p4_a_wish_that_is_not_understood_signals_nobody_and_is_told():
    jobs = FakeJobs(job(1, comment="hpc-agent:signal=KILL"))

    async def meanwhile(stage):
        await asyncio.sleep(5)
        assert "hpc-agent:signal=KILL" in stage.runner.state.trouble["jobs"].what

    evacuated(lambda: Scene(jobs=jobs), meanwhile=meanwhile)
    assert jobs.words() == ["freeze 1", "requeue 1", "thaw 1"]


def test_a_job_that_ends_by_itself_is_waited_for_no_longer():
    jobs = FakeJobs(job())

    async def meanwhile(stage):
        await asyncio.sleep(30)
        jobs.ends("7")
        await stage.until(Phase.RESTING, within=10)

    stage = evacuated(lambda: Scene(jobs=jobs), meanwhile=meanwhile)
    assert jobs.words() == []
    assert outcome_of(stage) == {"7": ("ended", "")}


@pytest.mark.parametrize(
    ("verdict", "done"), [(Verdict.PEERS, "requeued-by-another"), (Verdict.GONE, "ended"), (Verdict.REFUSED, "left")]
)
def test_what_slurm_says_of_a_requeue_is_in_the_outcome(verdict, done):
    stage = evacuated(lambda: Scene(jobs=FakeJobs(job(), verdict=verdict)))
    assert outcome_of(stage) == {"7": (done, "so it is")}


@pytest.mark.parametrize("is_barrier", [False, True])
@pytest.mark.parametrize("after", [40.0, 100.0])
def test_a_withdrawn_notice_lets_jobs_that_are_frozen_go_on(after, is_barrier):
    jobs = FakeJobs(job(), ends_after=1000)

    async def scene():
        async with Scene(jobs=jobs, copier=FakeCopier(seconds=500), is_barrier=is_barrier).running() as stage:
            stage.notice()
            await asyncio.sleep(after)
            stage.withdraw()
            await stage.until(Phase.WATCHING, within=5)
            return stage

    play(scene)
    assert jobs.frozen == set()
    assert jobs.words("thaw") == (["thaw 7"] if jobs.words("freeze") else [])


def test_p7_a_job_that_was_frozen_when_the_agent_died_before_it_wrote_that_down_goes_on_when_the_notice_is_gone():
    jobs = FakeJobs(job())

    async def scene():
        async with Scene(jobs=jobs, copier=FakeCopier(seconds=500)).running() as first:
            first.notice()
            await first.until(Phase.DELTA, within=110)
            written = next(record.state for record in first.steps if record.state.phase is Phase.STOPPING)
            state = state_of(state_document(written), effects=Effects.of(Mode.ACT))
            assert state.jobs["7"].dealt is Dealt.RUNNING
        assert jobs.frozen == {7}
        async with Scene(jobs=jobs, slurm=first.slurm, state=state).running() as second:
            second.withdraw()
            await second.until(Phase.WATCHING, within=60)

    play(scene)
    assert jobs.frozen == set()


class HeldUp(FakeJobs):
    """The jobs of a node whose slurmstepd for job 7 has died."""

    async def thaw(self, job, *, uid):
        if job == 7:
            raise SlurmUnavailable("scontrol", "listpids 7", "Unable to connect to slurmstepd: Connection refused")
        await super().thaw(job, uid=uid)


def test_p4_a_job_that_can_not_be_let_go_on_holds_up_neither_the_others_nor_the_node():
    jobs = HeldUp(job(7), job(8))

    async def scene():
        async with Scene(jobs=jobs, copier=FakeCopier(seconds=500)).running() as stage:
            stage.notice()
            await stage.until(Phase.DELTA, within=110)
            stage.withdraw()
            await asyncio.sleep(5)
            return stage

    stage = play(scene)
    assert jobs.frozen == {7}
    assert stage.slurm.standing is Drain.NONE
    assert "slurmstepd" in stage.runner.state.trouble["lift"].what


class Refused(FakeJobs):
    """Jobs of which job 7 can't be stopped, and that is known before the others are."""

    async def freeze(self, job, *, uid):
        if job == 7:
            raise SlurmRefused("scontrol", "listpids 7", "Access/permission denied")
        await asyncio.sleep(0.5)
        await super().freeze(job, uid=uid)


def test_a_job_that_can_not_be_stopped_keeps_no_other_from_being_stopped():
    stage = evacuated(lambda: Scene(jobs=Refused(job(7), job(8))))
    assert stage.jobs.words("freeze") == ["freeze 8"]
    assert stage.jobs.at("freeze", "8") <= stage.runner.state.entered[Phase.DELTA]
    assert dealt(stage) == {"7": Dealt.REQUEUED, "8": Dealt.REQUEUED}
    assert "Access/permission denied" in stage.runner.state.trouble["stop"].what


def test_a_job_that_was_frozen_for_an_earlier_notice_goes_on_when_the_next_is_withdrawn():
    jobs = FakeJobs(job())

    async def scene():
        async with Scene(jobs=jobs, copier=FakeCopier(seconds=500)).running() as stage:
            stage.notice()
            await stage.until(Phase.DELTA, within=110)
            stage.withdraw()
            stage.notice(600, source="operator")  # before the job was let go on
            await stage.until(Phase.COPYING, within=5)
            assert jobs.frozen == {7}
            stage.withdraw("operator")
            await stage.until(Phase.WATCHING, within=5)

    play(scene)
    assert jobs.frozen == set()


@pytest.mark.parametrize("verdict", [Verdict.REFUSED, Verdict.GONE, Verdict.PEERS])
def test_a_job_that_slurm_does_not_take_back_does_not_stay_frozen(verdict):
    stage = evacuated(lambda: Scene(jobs=FakeJobs(job(), verdict=verdict)))
    assert stage.jobs.frozen == set()


def test_p7_a_restart_with_a_frozen_job_goes_on_and_requeues_it_once():
    jobs = FakeJobs(job())

    async def scene():
        async with Scene(jobs=jobs, copier=FakeCopier(seconds=500)).running() as first:
            first.notice()
            await first.until(Phase.DELTA, within=100)
            state = state_of(state_document(first.runner.state), effects=Effects.of(Mode.ACT))
        async with Scene(jobs=jobs, slurm=first.slurm, state=state).running() as second:
            await second.until(Phase.RESTING, within=60)
            return second

    stage = play(scene)
    assert jobs.words("requeue") == ["requeue 7"]
    assert dealt(stage) == {"7": Dealt.REQUEUED}
    assert stage.runner.state.outcome is Outcome.COMPLETE


def test_p6_slurm_that_does_not_answer_is_asked_until_the_end_and_the_data_is_saved():
    stage = evacuated(lambda: Scene(jobs=FakeJobs(job(), down=10**6)))
    assert stage.runner.state.outcome is Outcome.COMPLETE
    assert "Unable to contact" in stage.runner.state.trouble["jobs"].what
    assert stage.jobs.words() == []


def test_p6_with_the_barrier_a_job_that_slurm_does_not_take_back_is_frozen_saved_and_requeued_when_it_does():
    jobs = FakeJobs(job(), kill_wait=5.0)

    async def meanwhile(stage):
        jobs.is_silent = True
        while not jobs.frozen:  # noqa: ASYNC110 - time is simulated
            await asyncio.sleep(0.05)
        jobs.is_silent = False

    stage = evacuated(lambda: Scene(jobs=jobs, is_barrier=True), meanwhile=meanwhile)
    assert jobs.words() == ["freeze 7", "requeue 7", "thaw 7"]
    assert jobs.at("freeze", "7") - stage.began <= entered(stage, Phase.DELTA)
    assert dealt(stage) == {"7": Dealt.REQUEUED}


def test_p6_slurm_that_is_back_in_time_gets_its_jobs_back():
    stage = evacuated(lambda: Scene(jobs=FakeJobs(job(), down=20)))
    assert stage.jobs.words() == ["freeze 7", "requeue 7", "thaw 7"]


def test_p6_a_commit_that_never_comes_keeps_no_job_from_its_requeue():
    stage = evacuated(lambda: Scene(jobs=FakeJobs(job()), copier=FakeCopier(stalls_at=0, commits=False)))
    assert stage.jobs.words() == ["freeze 7", "requeue 7", "thaw 7"]
    assert stage.runner.state.outcome is Outcome.NOTHING


@pytest.mark.parametrize("mode", [Mode.SAVE_ONLY, Mode.OBSERVE])
def test_p4_other_modes_touch_no_job(mode):
    stage = evacuated(lambda: Scene(jobs=FakeJobs(job(), job(2, is_batch=False)), mode=mode))
    assert stage.jobs.words() == []
    assert Phase.STOPPING not in stage.phases
    assert ("7" in stage.runner.state.withheld.get("jobs", "")) is (mode is Mode.OBSERVE)


def test_a_reboot_requeues_nobody():
    async def scene():
        async with Scene(jobs=FakeJobs(job())).running() as stage:
            stage.notice(kind=NoticeKind.SCHEDULED_EVENT, code="system-reboot", source="events")
            await stage.until(Phase.RESTING, within=120)
            return stage

    assert play(scene).jobs.words() == []


def test_the_job_of_a_capacity_block_keeps_its_node_until_the_last_minutes():
    jobs = FakeJobs(job())

    async def scene():
        async with Scene(jobs=jobs).running() as stage:
            stage.began = asyncio.get_running_loop().time()
            stage.notice(600.0, kind=NoticeKind.CAPACITY_BLOCK_END, source="capacity-block")
            await stage.until(Phase.RESTING, within=601)
            return stage

    stage = play(scene)
    assert jobs.at("freeze", "7") - stage.began > 300


def test_a_deadline_that_moves_nearer_stops_the_jobs_now():
    jobs = FakeJobs(job())

    async def meanwhile(stage):
        await asyncio.sleep(30)
        stage.notice(30.0)
        await stage.until(Phase.RESTING, within=31)

    stage = evacuated(lambda: Scene(jobs=jobs), seconds=600, meanwhile=meanwhile)
    assert jobs.words() == ["freeze 7", "requeue 7", "thaw 7"]
    assert stage.runner.state.outcome is Outcome.COMPLETE


def test_fencing_a_node_that_outlives_its_deadline_requeues_nothing_more():
    jobs = FakeJobs(job())

    async def scene():
        async with Scene(jobs=jobs, slurm=FakeSlurmNode()).running() as stage:
            stage.notice()
            await stage.until(Phase.RESTING, within=121)
            await stage.until(Phase.WATCHING, within=900)
            await asyncio.sleep(300)
            return stage

    stage = play(scene)
    assert jobs.words("requeue") == ["requeue 7"]
    assert stage.runner.state.jobs is None or not stage.runner.state.to_stop
