"""Every metric of the agent, present from the first scrape on. `docs/interfaces.md` is the contract.

Names begin with `hpc_agent_`; units are base units; what is not known is NaN, never 0; labels take their values from
closed sets, so that nothing a job or a server says can make a new series.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Info, ProcessCollector, disable_created_metrics

from agent.evacuation.estimate import Estimate
from agent.evacuation.phases import NUMBERS, Phase
from agent.evacuation.state import Outcome
from agent.model.drain import Drain
from agent.model.notice import Notice, NoticeKind
from agent.model.progress import Progress

Registry = CollectorRegistry
"""All series, as `agent.observe.http` exposes them."""

NAN: Final = float("nan")
OTHER: Final = "other"

CAPABILITIES: Final = (
    "imds",
    "slurm",
    "barrier",
    "prolog",
    "scratch",
    "bucket",
    "writer",
    "capacity_block",
    "journal",
    "http",
    "socket",
    "cgroup",
)
SOURCES: Final = (
    "spot",
    "spot-termination-time",
    "instance-tag",
    "rebalance",
    "scheduled-event",
    "asg",
    "capacity-block",
    "shutdown",
    "operator",
    OTHER,
)
IMDS_OUTCOMES: Final = (
    "found",
    "absent",
    "unauthorized",
    "forbidden",
    "throttled",
    "server-error",
    "unexpected-status",
    "timeout",
    "refused",
    "broken",
    "garbage",
    OTHER,
)
SLURM_COMMANDS: Final = ("show-node", "show-config", "drain", "undrain", "requeue", "squeue", "scancel", OTHER)
SLURM_OUTCOMES: Final = ("ok", "failed", "timed-out", OTHER)
S3_OPERATIONS: Final = ("put", "copy", "begin", "put_part", "parts", "complete", "abort", "get", "head", "list", OTHER)
S3_OUTCOMES: Final = ("ok", "unavailable", "denied", "missing", "exists", "refused", "upload_missing", OTHER)

JOB_RESTORES: Final = ("complete", "older", "partial", "none")


class Counts:
    """Turns counts that somebody else keeps into what came since they were looked at last.

    A count that is lower than before began anew: a copier that was started again.
    """

    def __init__(self) -> None:
        self._before: dict[str, float] = {}

    def more(self, what: str, count: float) -> float:
        before = self._before.get(what, 0)
        self._before[what] = count
        return count - before if count >= before else count


class Metrics:
    """The series and, one method per thing that happens, how they change."""

    def __init__(self, *, version: str, mode: str) -> None:
        # A counter's time of creation would be a series of its own. The switch is global, and not annotated.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = Registry()
        ProcessCollector(namespace="hpc_agent", registry=self.registry)
        self._seen: set[str] = set()
        self._counts = Counts()
        self._info("build", "The running agent").info({"version": version})
        self._info("mode", "How far the agent may go: act, save-only or observe").info({"mode": mode})
        self._state = self._gauge("state", "Where it is: " + ", ".join(f"{n} {p}" for p, n in NUMBERS.items()))
        self._state_info = self._gauge("state_info", "1 for the state it is in", state=[phase.value for phase in Phase])
        kinds = [kind.value for kind in NoticeKind]
        self._active = self._gauge("notice_active", "Whether a notice of this kind stands", kind=kinds)
        self._notices = self._counter("notices", "Notices seen, each once", kind=kinds)
        self._deadline = self._gauge("deadline_timestamp_seconds", "When this node goes; NaN when no notice stands")
        self._block_end = self._gauge(
            "capacity_block_end_timestamp_seconds", "When EC2 begins to take the Capacity Block's instances"
        )
        self._watch_sources()
        self._watch_slurm()
        self._watch_checkpoint()
        self._watch_ahead()
        self._capability = self._gauge("capability", "Whether this part works", name=list(CAPABILITIES))
        self._trouble = self._gauge("trouble", "Troubles that stand now; `hpc-agent status` says which")
        self._skew = self._gauge("clock_skew_seconds", "Our wall clock minus that of IMDS")
        self.phase(Phase.WATCHING)
        self.notices(())
        self.deadline(None)
        self.block_end(None)
        self.trouble(0)
        self.clock_skew(None)
        for name in CAPABILITIES:
            self._capability.labels(name).set(NAN)

    def _watch_sources(self) -> None:
        self._imds = self._counter("imds_requests", "Requests to IMDS", outcome=list(IMDS_OUTCOMES))
        self._imds_last = self._gauge("imds_last_success_timestamp_seconds", "When IMDS answered last")
        self._source_last = self._gauge(
            "source_last_success_timestamp_seconds", "When this source of notices answered last", source=list(SOURCES)
        )
        self._source_failures = self._counter(
            "source_failures", "Times this source of notices did not answer usefully", source=list(SOURCES)
        )
        self._imds_last.set(NAN)
        for source in SOURCES:
            self._source_last.labels(source).set(NAN)

    def _watch_slurm(self) -> None:
        self._drained = self._gauge("drained", "Whether the node is drained, by whom", by=["us", "others"])
        self._drain_seconds = self._gauge("drain_seconds", "From the last notice to its confirmed drain")
        self._slurm = self._counter(
            "slurm_commands", "Slurm commands run", command=list(SLURM_COMMANDS), outcome=list(SLURM_OUTCOMES)
        )
        self.drain(None)
        self.drained_within(None)

    def _watch_checkpoint(self) -> None:
        states = ["total", "done", "left"]
        self._files = self._gauge("checkpoint_files", "Files of the current or last copy", state=states)
        self._bytes = self._gauge("checkpoint_bytes", "Bytes of the current or last copy", state=states)
        self._sent = self._counter("checkpoint_sent_bytes", "Bytes of files and segments sent to S3")
        self._s3 = self._counter(
            "s3_requests", "Requests to S3", operation=list(S3_OPERATIONS), outcome=list(S3_OUTCOMES)
        )
        self._last = self._gauge("last_checkpoint_timestamp_seconds", "When the last head was committed")
        self._complete = self._gauge("last_checkpoint_complete", "Whether the last head holds everything that was seen")
        self._evacuations = self._counter(
            "evacuations", "Evacuations that came to their end", outcome=[outcome.value.lower() for outcome in Outcome]
        )
        self._restores = self._counter(
            "job_restores", "Requeued jobs that began here, by what of their files came back", result=list(JOB_RESTORES)
        )
        self.progress(None)
        self._last.set(NAN)
        self._complete.set(NAN)

    def _watch_ahead(self) -> None:
        self._estimate = self._gauge("evacuation_estimate_seconds", "What a notice would cost now")
        self._estimate_age = self._gauge("evacuation_estimate_age_seconds", "Since the tree was looked at")
        self._rate = self._gauge("evacuation_rate_bytes_per_second", "What S3 takes from here, as measured")
        self._unsaved = self._gauge("unsaved_bytes", "Bytes on the scratch that no checkpoint holds, as of that look")
        self._lead = self._counter("lead_bytes", "Bytes saved ahead of a notice")
        self._look = self._counter("scan_cpu_seconds", "CPU time that looks at the tree took")
        self._layers = self._gauge("container_layer_bytes", "Bytes of container images on the scratch, left out")
        self.estimate(None, age=0.0)
        self.ahead(0, 0.0, None)

    def _info(self, name: str, text: str) -> Info:
        return Info(f"hpc_agent_{name}", text, registry=self.registry)

    def _gauge(self, metric: str, text: str, /, **labels: list[str]) -> Gauge:
        return Gauge(f"hpc_agent_{metric}", text, tuple(labels), registry=self.registry)

    def _counter(self, metric: str, text: str, /, **labels: list[str]) -> Counter:
        """Make a counter whose every series is there from the start, at 0."""
        counter = Counter(f"hpc_agent_{metric}", text, tuple(labels), registry=self.registry)
        _fill(counter, [], list(labels.values()))
        return counter

    def phase(self, phase: Phase) -> None:
        self._state.set(NUMBERS[phase])
        for other in Phase:
            self._state_info.labels(other.value).set(other is phase)

    def notices(self, notices: Iterable[Notice]) -> None:
        """Take the notices that the sources show now. A stale one counts as seen, not as active."""
        shown = list(notices)
        active = {notice.kind for notice in shown if not notice.stale}
        for kind in NoticeKind:
            self._active.labels(kind.value).set(kind in active)
        for notice in shown:
            if notice.id not in self._seen:
                self._notices.labels(notice.kind.value).inc()
        self._seen = {notice.id for notice in shown}

    def deadline(self, when: datetime | None) -> None:
        self._deadline.set(_time(when))

    def block_end(self, when: datetime | None) -> None:
        """Take when this node's Capacity Block is taken; None is no block, or not known."""
        self._block_end.set(_time(when))

    def imds(self, requests: Mapping[str, int], last_success: datetime | None) -> None:
        """Take how many requests to IMDS ended how since the start, and when one was answered last."""
        for outcome, count in requests.items():
            self._imds.labels(_known(outcome, IMDS_OUTCOMES)).inc(self._counts.more(f"imds {outcome}", count))
        self._imds_last.set(_time(last_success))

    def source(self, name: str, last_success: datetime | None, failures: int) -> None:
        """Take when a source of notices answered last, and how often it failed since then."""
        known = _known(name, SOURCES)
        self._source_last.labels(known).set(_time(last_success))
        self._source_failures.labels(known).inc(self._counts.more(f"source {name}", failures))

    def drain(self, drain: Drain | None) -> None:
        """Take whose drain stands; None is not known."""
        for by, whose in (("us", Drain.OURS), ("others", Drain.THEIRS)):
            self._drained.labels(by).set(NAN if drain is None else drain is whose)

    def drained_within(self, seconds: float | None) -> None:
        """Take how long it took from a notice to its drain."""
        self._drain_seconds.set(NAN if seconds is None else seconds)

    def slurm_command(self, command: str, outcome: str) -> None:
        self._slurm.labels(_known(command, SLURM_COMMANDS), _known(outcome, SLURM_OUTCOMES)).inc()

    def progress(self, progress: Progress | None) -> None:
        """Take how far the current copy is; None before the first one."""
        if progress is None:
            for gauge in (self._files, self._bytes):
                _share(gauge, NAN, NAN)
            return
        _share(self._files, progress.files_total, progress.files_done)
        _share(self._bytes, progress.bytes_total, progress.bytes_done)
        self._sent.inc(self._counts.more("sent", progress.bytes_sent))

    def s3_requests(self, requests: Mapping[str, int]) -> None:
        """Take how many requests to S3 ended how since the copier began, by "operation outcome"."""
        for words, count in requests.items():
            operation, _, outcome = words.partition(" ")
            series = self._s3.labels(_known(operation, S3_OPERATIONS), _known(outcome, S3_OUTCOMES))
            series.inc(self._counts.more(f"s3 {words}", count))

    def committed(self, when: datetime, *, complete: bool) -> None:
        self._last.set(when.timestamp())
        self._complete.set(complete)

    def estimate(self, expected: Estimate | None, *, age: float) -> None:
        """Take what a notice would cost, found out `age` seconds ago; None is not known."""
        self._estimate.set(NAN if expected is None else expected.seconds)
        self._estimate_age.set(NAN if expected is None else age)
        self._rate.set(expected.rate if expected is not None and expected.is_measured else NAN)
        self._unsaved.set(NAN if expected is None else expected.bytes)

    def ahead(self, sent: int, cpu_seconds: float, layer_bytes: int | None) -> None:
        """Take what was saved ahead and what looks at the tree have cost since the start, and what is never saved."""
        self._layers.set(NAN if layer_bytes is None else layer_bytes)
        self._lead.inc(self._counts.more("lead", sent))
        self._look.inc(self._counts.more("look", cpu_seconds))

    def outcome(self, outcome: Outcome) -> None:
        self._evacuations.labels(outcome.value.lower()).inc()

    def restored(self, result: str) -> None:
        """Take what a requeued job got back. Raises KeyError for a word that is not in JOB_RESTORES."""
        if result not in JOB_RESTORES:
            raise KeyError(result)
        self._restores.labels(result).inc()

    def capability(self, name: str, *, on: bool) -> None:
        """Take whether a part works. Raises KeyError for one that is not in CAPABILITIES."""
        if name not in CAPABILITIES:
            raise KeyError(name)
        self._capability.labels(name).set(on)

    def trouble(self, count: int) -> None:
        self._trouble.set(count)

    def clock_skew(self, seconds: float | None) -> None:
        self._skew.set(NAN if seconds is None else seconds)


def _fill(counter: Counter, chosen: list[str], values: list[list[str]]) -> None:
    if values:
        for value in values[0]:
            _fill(counter, [*chosen, value], values[1:])
    elif chosen:
        counter.labels(*chosen)


def _share(gauge: Gauge, total: float, done: float) -> None:
    gauge.labels("total").set(total)
    gauge.labels("done").set(done)
    gauge.labels("left").set(total - done)


def _known(value: str, closed: tuple[str, ...]) -> str:
    return value if value in closed else OTHER


def _time(when: datetime | None) -> float:
    return NAN if when is None else when.timestamp()
