"""What the samples say: medians, the worst, ratios to s5cmd in the same round; as a table. Pure."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.measure.usage import Cost

YARDSTICK = "s5cmd"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What one client needed for one workload, round by round."""

    direction: str
    workload: str
    megabytes: float
    client: str
    costs: Sequence[Cost]

    def frugality(self, number: int) -> float:
        """Return the megabytes that a CPU second carried in a round."""
        return self.megabytes / max(self.costs[number].cpu, 1e-3)

    def worst_ratio(self, other: "Series", of: Callable[["Series", int], float]) -> float:
        """Return the least of this series' quotients to another's, round by round: rounds alternate the clients."""
        rounds = range(min(len(self.costs), len(other.costs)))
        return min(of(self, number) / of(other, number) for number in rounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`least` is of the ratio to s5cmd in MB per client CPU second, the worst round counting."""

    direction: str
    client: str
    workload: str
    least: float


TARGETS = [
    *(
        Target(direction="save", client="hpc-agent", workload=workload, least=least)
        for workload, least in (("W1", 1.5), ("W2", 2.0), ("W3", 5.0), ("W4", 3.0))
    ),
    Target(direction="save", client="hpc-agent daemon", workload="W1", least=3.0),
    *(
        Target(direction="restore", client="hpc-agent", workload=workload, least=1.5)
        for workload in ("W1", "W2", "W3", "W4")
    ),
]

HEAD = ["", "client", "CPU s", "worst", "wall s", "worst", "peak RSS MB", "MB per CPU s", "x s5cmd", "target"]


def table(series: Sequence[Series]) -> str:
    """Return the Markdown table, a row for each client and workload."""
    return markdown(HEAD, [_row(one, _yardstick(one, series)) for one in series])


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = ["---", "---", *["---:"] * (len(head) - 2)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def _yardstick(one: Series, series: Sequence[Series]) -> Series | None:
    same = (other for other in series if (other.direction, other.workload) == (one.direction, one.workload))
    return next((other for other in same if other.client == YARDSTICK), None)


def _row(one: Series, yardstick: Series | None) -> list[str]:
    cpu, wall = [cost.cpu for cost in one.costs], [cost.wall for cost in one.costs]
    rates = [one.frugality(number) for number in range(len(one.costs))]
    ratio = None if yardstick is None or yardstick is one else one.worst_ratio(yardstick, Series.frugality)
    return [
        f"{one.direction} {one.workload}",
        one.client,
        *(f"{value:.2f}" for value in (statistics.median(cpu), max(cpu), statistics.median(wall), max(wall))),
        f"{max(cost.rss for cost in one.costs) / 1e6:,.0f}",
        f"{statistics.median(rates):,.0f}",
        "" if ratio is None else f"{ratio:.2f}",
        _verdict(one, ratio),
    ]


def _verdict(one: Series, ratio: float | None) -> str:
    for target in TARGETS:
        if (target.direction, target.client, target.workload) == (one.direction, one.client, one.workload) and ratio:
            return f"{target.least:g}" if ratio >= target.least else f"{target.least:g} MISSED"
    return ""


def wall_ratios(series: Sequence[Series], targets: Mapping[str, float]) -> str:
    """Return how many times longer than the first client each other one took, the least favourable round counting."""
    first, *others = series
    rows = []
    for other in others:
        ratio, least = other.worst_ratio(first, _wall), targets.get(other.client, 0.0)
        verdict = f"{least:g}" if ratio >= least else f"{least:g} MISSED"
        rows.append([other.client, f"{ratio:.1f}", verdict if least else ""])
    walls = [[one.client, *(f"{wall:.2f}" for wall in _spread(one))] for one in series]
    return "\n\n".join(
        (
            markdown(["client", "wall s, median", "worst"], walls),
            markdown(["slower than hpc-agent", "times (worst round)", "target"], rows),
        )
    )


def _wall(one: Series, number: int) -> float:
    return one.costs[number].wall


def _spread(one: Series) -> tuple[float, float]:
    walls = [cost.wall for cost in one.costs]
    return statistics.median(walls), max(walls)
