"""What is saved ahead and when, as a table."""

from dataclasses import replace

import pytest

from agent.evacuation.estimate import ASSUMED_RATE, Look
from agent.evacuation.lead import (
    LAST_HOURS,
    REFRESH_EVERY,
    Known,
    Pass,
    Rest,
    Rules,
    Scan,
    Scope,
    decide,
)

GB = 10**9
RULES = Rules(budget=60.0, quiet=600.0, bytes_per_day=500 * GB)
NOW = 10_000.0
FULL = Look(at=NOW, files=2000, bytes=20 * GB, oldest=7200.0, cpu_seconds=0.5, seconds=2.0)
SPOT = Known(is_spot=True, used=20 * GB, rate=200e6, jobs_at=NOW)


def test_a_small_tree_is_neither_sent_ahead_nor_looked_at():
    small = replace(SPOT, used=8 * GB)  # 40 s of 60 at 200 MB/s, the other 20 are fixed
    assert isinstance(decide(RULES, small, NOW), Rest)
    assert isinstance(decide(RULES, replace(small, look=FULL), NOW), Rest)
    assert decide(RULES, replace(small, used=8 * GB + 1), NOW) == Scan()


def test_a_disk_whose_use_is_not_known_is_looked_at():
    assert decide(RULES, replace(SPOT, used=None), NOW) == Scan()


def test_a_large_tree_is_sent_ahead_down_to_an_eighth_of_what_fits():
    found = decide(RULES, replace(SPOT, look=FULL), NOW)
    assert found == Pass(why="more is unsaved than fits the budget", most_bytes=19 * GB, quiet=600.0)


def test_what_fits_the_budget_stays():
    look = replace(FULL, bytes=8 * GB)
    assert isinstance(decide(RULES, replace(SPOT, look=look), NOW), Rest)


def test_without_a_measured_rate_a_low_one_is_assumed():
    room = round(40 * ASSUMED_RATE)
    unknown = replace(SPOT, rate=None, used=100 * GB)
    assert isinstance(decide(RULES, replace(unknown, look=replace(FULL, bytes=room)), NOW), Rest)
    assert isinstance(decide(RULES, replace(unknown, look=replace(FULL, bytes=room + 1)), NOW), Pass)


@pytest.mark.parametrize("scope", [Scope.AUTO, Scope.ALWAYS])
def test_what_changed_within_the_quiet_time_is_not_sent(scope):
    rules, young = replace(RULES, scope=scope), replace(FULL, oldest=500.0)
    assert isinstance(decide(rules, replace(SPOT, look=young), NOW), Rest)
    later = decide(rules, replace(SPOT, look=replace(young, at=NOW - 100)), NOW)
    assert isinstance(later, Pass)


def test_an_on_demand_node_is_left_alone():
    assert isinstance(decide(RULES, replace(SPOT, is_spot=False, look=FULL), NOW), Rest)


def test_a_capacity_block_is_saved_ahead_in_its_last_hours():
    block = replace(SPOT, is_spot=False, look=FULL)
    assert isinstance(decide(RULES, replace(block, block_taken_in=LAST_HOURS + 1), NOW), Rest)
    assert isinstance(decide(RULES, replace(block, block_taken_in=LAST_HOURS), NOW), Pass)


def test_always_sends_all_that_rests_wherever_it_runs():
    small = Known(used=1000, look=replace(FULL, bytes=1000), jobs_at=NOW)
    found = decide(replace(RULES, scope=Scope.ALWAYS), small, NOW)
    assert isinstance(found, Pass)
    assert found.most_bytes == 1000


def test_never_sends_nothing_and_looks_at_nothing():
    assert isinstance(decide(replace(RULES, scope=Scope.NEVER), SPOT, NOW), Rest)
    assert isinstance(decide(replace(RULES, scope=Scope.NEVER), replace(SPOT, look=FULL), NOW), Rest)


def test_the_bytes_of_a_day_are_a_limit():
    rules = replace(RULES, bytes_per_day=20 * GB)
    found = decide(rules, replace(SPOT, look=FULL, sent_today=15 * GB), NOW)
    assert isinstance(found, Pass)
    assert found.most_bytes == 5 * GB
    full = decide(rules, replace(SPOT, look=FULL, sent_today=20 * GB), NOW)
    assert full == Rest(why="checkpoint.lead_bytes_per_day is used up")


def test_p9_with_jobs_looks_take_a_hundredth_of_a_core():
    looked = replace(SPOT, look=replace(FULL, bytes=0, cpu_seconds=4.0))
    assert isinstance(decide(RULES, looked, NOW + 399), Rest)
    assert decide(RULES, looked, NOW + 400) == Scan()


def test_p9_a_slow_disk_is_looked_at_less_often():
    looked = replace(SPOT, look=replace(FULL, bytes=0, cpu_seconds=0.1, seconds=30.0))
    assert isinstance(decide(RULES, looked, NOW + 599), Rest)
    assert decide(RULES, looked, NOW + 600) == Scan()


def test_p9_without_a_job_there_is_one_look_and_then_none():
    left = replace(SPOT, has_jobs=False, jobs_at=NOW + 5, look=replace(FULL, bytes=0))
    assert isinstance(decide(RULES, left, NOW + 64), Rest)
    assert decide(RULES, left, NOW + 65) == Scan()
    again = replace(left, look=replace(FULL, at=NOW + 65, bytes=0))
    assert all(isinstance(decide(RULES, again, NOW + later), Rest) for later in (66, 3600, 86_400))


def test_what_the_last_job_left_is_at_rest_after_a_minute():
    left = replace(SPOT, has_jobs=False, jobs_at=NOW - 65, look=replace(FULL, oldest=61.0))
    found = decide(RULES, left, NOW)
    assert isinstance(found, Pass)
    assert found.quiet == 60.0


def test_whole_checkpoints_are_made_at_their_interval_while_there_are_jobs():
    rules = replace(RULES, scope=Scope.NEVER, every=3600.0)
    begun = Known(jobs_at=NOW, whole_at=NOW - 3600)
    assert decide(rules, begun, NOW) == Pass(why="checkpoint.every has passed", most_bytes=None, quiet=0.0)
    assert isinstance(decide(rules, begun, NOW - 1), Rest)
    assert isinstance(decide(rules, replace(begun, jobs_at=NOW - 4000), NOW), Rest)


def test_a_head_is_refreshed_before_any_rule_of_the_bucket_takes_it():
    old = replace(SPOT, look=replace(FULL, bytes=0), has_jobs=False, head_at=NOW - REFRESH_EVERY)
    found = decide(RULES, old, NOW)
    assert isinstance(found, Pass)
    assert found.most_bytes == 0
    assert isinstance(decide(RULES, replace(old, head_at=NOW), NOW), Rest)


def test_of_what_is_at_rest_the_oldest_change_goes_first():
    look = replace(FULL, by_age=((65536.0, 12 * GB), (4096.0, 5 * GB), (1024.0, 3 * GB)))
    found = decide(RULES, replace(SPOT, look=look), NOW)
    assert (found.most_bytes, found.quiet) == (19 * GB, 1024.0)
    found = decide(replace(RULES, bytes_per_day=17 * GB), replace(SPOT, look=look), NOW)
    assert (found.most_bytes, found.quiet) == (17 * GB, 4096.0)
    young = replace(look, by_age=((65536.0, GB), (16.0, 19 * GB)))
    assert decide(RULES, replace(SPOT, look=young), NOW).quiet == RULES.quiet
