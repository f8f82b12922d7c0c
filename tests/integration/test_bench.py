"""`make bench` itself: what it measures is nothing that a test should judge, but it has to work when it is needed."""

import re
import subprocess
import sys
import time

import pytest

from tests.measure import sink
from tests.measure.authority import make
from tests.measure.bench import BEGIN, END, written
from tests.measure.table import Series, table
from tests.measure.usage import Cost


def series(client, *cpu):
    costs = [Cost(cpu=each, wall=1.0, rss=10**7) for each in cpu]
    return Series(direction="save", workload="W3", megabytes=100.0, client=client, costs=costs)


def test_the_worst_round_counts_and_rounds_are_compared_with_themselves():
    shown = table([series("hpc-agent", 1.0, 2.0, 4.0), series("s5cmd", 10.0, 10.0, 40.0)])
    assert "| save W3 | hpc-agent | 2.00 | 4.00 | 1.00 | 1.00 | 10 | 50 | 5.00 | 5 |" in shown


def test_a_missed_target_is_named():
    shown = table([series("hpc-agent", 1.0, 2.0), series("s5cmd", 9.0, 9.0)])
    assert "| 4.50 | 5 MISSED |" in shown


def test_only_what_is_between_the_marks_is_written():
    document = f"before {BEGIN}old{END} after"
    assert written(written(document, "new"), "newer") == f"before {BEGIN}\n\nnewer\n\n{END} after"


@pytest.mark.cc
def test_a_small_bench_prints_numbers(tmp_path):
    small = ["--quick", "--rounds", "1", "--only", "W1", "--clients", "standalone", "--save", "--dir", str(tmp_path)]
    command = [sys.executable, "-m", "tests.measure.bench", *small]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert re.search(r"^\| save W1 \| hpc-agent( \| [\d.,]+){6} \|", done.stdout, re.MULTILINE), done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.cc
def test_the_sink_answers_late_when_asked_to_and_counts(tmp_path):
    with sink.sink(sink.build(tmp_path), make(tmp_path), delay_ms=30, cap=10**8) as server:
        assert server.counts() == {"connections": 1, "requests": 0, "bytes": 0}
        began = time.monotonic()
        assert server.counts()["requests"] == 1
        assert time.monotonic() - began >= 0.03
