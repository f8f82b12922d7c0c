import math
import os
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from agent.daemon.capabilities import Name
from agent.evacuation.estimate import Estimate
from agent.evacuation.phases import NUMBERS, Phase
from agent.evacuation.state import Outcome
from agent.imds.client import ABSENT, FOUND
from agent.imds.unavailable import Reason
from agent.jobs.choice import Result
from agent.model.drain import Drain
from agent.model.notice import Notice, NoticeKind
from agent.model.progress import Progress
from agent.observe.metrics import CAPABILITIES, IMDS_OUTCOMES, JOB_RESTORES, S3_OPERATIONS, S3_OUTCOMES, Metrics
from agent.store import counted

GOLDEN = Path(__file__).parents[2] / "golden" / "metrics.txt"
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


ESTIMATE = Estimate(seconds=30.0, bytes=10**9, files=3, at=1.0, rate=1e8, is_measured=True)


@pytest.fixture
def metrics():
    return Metrics(version="0.1.0", mode="act")


def value(metrics, name, /, **labels):
    return metrics.registry.get_sample_value(f"hpc_agent_{name}", labels)


def series(text):
    """The exposition without the values of the process itself."""
    return "".join(line for line in text.splitlines(keepends=True) if "hpc_agent_process_" not in line)


def notice(id_="i-1", kind=NoticeKind.SPOT_TERMINATE, *, stale=False):
    return Notice(id=id_, kind=kind, ends_at=NOON, due=1.0, seen_at=NOON, source="spot", stale=stale)


def test_the_first_scrape_is_the_golden_one(metrics):
    text = series(generate_latest(metrics.registry).decode())
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def busy(metrics):
    metrics.phase(Phase.COPYING)
    metrics.notices([notice()])
    metrics.deadline(NOON)
    metrics.imds({"found": 3, "timeout": 1}, NOON)
    metrics.source("spot", NOON, 2)
    metrics.drain(Drain.OURS)
    metrics.drained_within(0.2)
    metrics.slurm_command("drain", "ok")
    metrics.progress(Progress(files_total=10, files_done=4, bytes_total=100, bytes_done=40, bytes_sent=50))
    metrics.s3_requests({"put ok": 7})
    metrics.committed(NOON, complete=True)
    metrics.outcome(Outcome.PARTIAL)
    metrics.restored("older")
    metrics.capability("imds", on=True)
    metrics.trouble(2)
    metrics.clock_skew(-0.25)
    metrics.estimate(ESTIMATE, age=7.0)
    metrics.ahead(5, 0.5, 9)


def names(metrics):
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in metrics.registry.collect()
        for sample in family.samples
    }


def test_all_series_are_there_from_the_first_scrape(metrics):
    before = names(metrics)
    busy(metrics)
    assert names(metrics) == before


def test_every_name_begins_with_hpc_agent(metrics):
    assert all(name.startswith("hpc_agent_") for name, _ in names(metrics))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (package prometheus) is not installed")
def test_prometheus_finds_nothing_to_complain_about(metrics):
    busy(metrics)
    check = subprocess.run(
        ["promtool", "check", "metrics"], input=generate_latest(metrics.registry), capture_output=True, check=False
    )
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")


def test_openmetrics_reads_it_too(metrics):
    busy(metrics)
    text = generate_openmetrics(metrics.registry).decode()
    assert "hpc_agent_notices" in {family.name for family in text_string_to_metric_families(text)}


def test_what_is_not_known_is_nan(metrics):
    for name in (
        "deadline_timestamp_seconds",
        "imds_last_success_timestamp_seconds",
        "drain_seconds",
        "last_checkpoint_timestamp_seconds",
        "last_checkpoint_complete",
        "clock_skew_seconds",
    ):
        assert math.isnan(value(metrics, name)), name
    assert math.isnan(value(metrics, "drained", by="us"))
    assert math.isnan(value(metrics, "capability", name="slurm"))
    assert math.isnan(value(metrics, "checkpoint_bytes", state="left"))


def test_the_numbers_of_the_states_never_change():
    assert {phase.value: number for phase, number in NUMBERS.items()} == {
        "watching": 0,
        "draining": 1,
        "copying": 2,
        "committing": 3,
        "releasing": 4,
        "resting": 5,
        "returning": 6,
        "stopping": 7,
        "delta": 8,
    }


def test_one_state_is_on(metrics):
    metrics.phase(Phase.RESTING)
    assert value(metrics, "state") == 5
    assert [phase for phase in Phase if value(metrics, "state_info", state=phase.value)] == [Phase.RESTING]


def test_a_notice_is_counted_once_and_active_while_it_stands(metrics):
    metrics.notices([notice()])
    metrics.notices([notice()])
    assert value(metrics, "notices_total", kind="spot-terminate") == 1
    assert value(metrics, "notice_active", kind="spot-terminate") == 1
    metrics.notices([])
    assert value(metrics, "notice_active", kind="spot-terminate") == 0
    metrics.notices([notice()])
    assert value(metrics, "notices_total", kind="spot-terminate") == 2


def test_p5_a_stale_notice_is_counted_and_not_active(metrics):
    metrics.notices([notice(stale=True)])
    assert value(metrics, "notices_total", kind="spot-terminate") == 1
    assert value(metrics, "notice_active", kind="spot-terminate") == 0


def test_counts_kept_elsewhere_add_up_over_a_copier_that_began_anew(metrics):
    metrics.s3_requests({"put ok": 5, "put unavailable": 1})
    metrics.s3_requests({"put ok": 7, "put unavailable": 1})
    metrics.s3_requests({"put ok": 2})
    assert value(metrics, "s3_requests_total", operation="put", outcome="ok") == 9
    assert value(metrics, "s3_requests_total", operation="put", outcome="unavailable") == 1


def test_a_source_fails_and_recovers(metrics):
    metrics.source("spot", None, 2)
    metrics.source("spot", NOON, 0)
    metrics.source("spot", NOON, 1)
    assert value(metrics, "source_failures_total", source="spot") == 3
    assert value(metrics, "source_last_success_timestamp_seconds", source="spot") == NOON.timestamp()


def test_words_from_outside_make_no_new_series(metrics):
    before = names(metrics)
    metrics.imds({"teapot": 1}, None)
    metrics.slurm_command("reboot", "maybe")
    metrics.s3_requests({"select never": 1, "nonsense": 1})
    metrics.source("moon", None, 1)
    assert names(metrics) == before
    assert value(metrics, "imds_requests_total", outcome="other") == 1
    assert value(metrics, "slurm_commands_total", command="other", outcome="other") == 1
    assert value(metrics, "s3_requests_total", operation="other", outcome="other") == 2


@pytest.mark.parametrize(("drain", "us", "others"), [(Drain.OURS, 1, 0), (Drain.THEIRS, 0, 1), (Drain.NONE, 0, 0)])
def test_it_says_whose_drain_stands(metrics, drain, us, others):
    metrics.drain(drain)
    assert (value(metrics, "drained", by="us"), value(metrics, "drained", by="others")) == (us, others)


def test_a_part_that_nobody_knows_has_no_capability(metrics):
    with pytest.raises(KeyError):
        metrics.capability("teleport", on=True)


def test_what_requeued_jobs_got_back_is_counted_and_no_other_word(metrics):
    metrics.restored(Result.OLDER)
    metrics.restored(Result.OLDER)
    assert [metrics.registry.get_sample_value("hpc_agent_job_restores_total", {"result": each}) for each in Result] == [
        0.0,
        2.0,
        0.0,
        0.0,
    ]
    with pytest.raises(KeyError):
        metrics.restored("some")


def test_the_labels_are_what_the_other_parts_say(metrics):
    assert set(IMDS_OUTCOMES) >= {FOUND, ABSENT, *Reason}
    assert set(S3_OPERATIONS) >= set(counted.Operation)
    assert set(S3_OUTCOMES) >= set(counted.Outcome)
    assert set(CAPABILITIES) == set(Name)
    assert set(JOB_RESTORES) == set(Result)


def test_the_documents_name_every_metric(metrics):
    told = (GOLDEN.parents[2] / "docs" / "interfaces.md").read_text()
    helped = [line.split()[2] for line in GOLDEN.read_text().splitlines() if line.startswith("# HELP")]
    assert [name for name in helped if f"`{name}`" not in told and "_process_" not in name] == []


def test_what_a_notice_would_cost_is_shown_and_a_rate_that_is_assumed_is_not(metrics):
    metrics.estimate(ESTIMATE, age=7.0)
    assert value(metrics, "evacuation_estimate_seconds") == 30.0
    assert value(metrics, "evacuation_estimate_age_seconds") == 7.0
    assert value(metrics, "evacuation_rate_bytes_per_second") == 1e8
    assert value(metrics, "unsaved_bytes") == 1e9
    metrics.estimate(replace(ESTIMATE, is_measured=False), age=7.0)
    assert math.isnan(value(metrics, "evacuation_rate_bytes_per_second"))
    metrics.estimate(None, age=0.0)
    assert math.isnan(value(metrics, "evacuation_estimate_seconds"))


def test_what_is_saved_ahead_adds_up(metrics):
    metrics.ahead(5, 0.5, None)
    metrics.ahead(12, 0.75, 9)
    assert value(metrics, "lead_bytes_total") == 12
    assert value(metrics, "scan_cpu_seconds_total") == 0.75
    assert value(metrics, "container_layer_bytes") == 9
