from dataclasses import replace

import pytest

from agent.demo.timeline import Times, size, summary, table

TIMES = Times(noticed=1000.0, drained=1000.5, last_byte=1010.5, committed=1011.0, ends=1120.0, copied_bytes=300_000_000)


def test_the_table_counts_from_the_notice_and_is_to_scale():
    assert list(table(TIMES)) == [
        "   0.00 s  the notice appears in IMDS     |                              |",
        "   0.50 s  Slurm shows the node in DRAIN  |                              |",
        "  10.50 s  the last byte is in S3         |###                           |",
        "  11.00 s  the checkpoint is committed    |###                           |",
        " 120.00 s  EC2 takes the node             |##############################|",
    ]


def test_the_summary_says_how_fast_and_how_much_of_the_window_was_left():
    assert summary(TIMES) == "300.0 MB in 10.0 s (30 MB/s); 109.0 s of the 120 s were left"


def test_what_never_came_is_not_in_the_table():
    cut = replace(TIMES, last_byte=None, committed=None)
    assert [line[11:].split("  ")[0] for line in table(cut)] == [
        "the notice appears in IMDS",
        "Slurm shows the node in DRAIN",
        "EC2 takes the node",
    ]
    assert summary(cut) == "300.0 MB went out before the 120 s were over: not all"


def test_a_copy_that_was_over_before_the_drain_was_seen_is_no_division_by_zero():
    assert summary(replace(TIMES, last_byte=1000.4)).startswith("300.0 MB in 0.1 s")


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (300_400_000, "300.4 MB"), (2e9, "2.0 GB"), (5e12, "5.0 TB")],
)
def test_sizes_are_decimal(count, text):
    assert size(count) == text
