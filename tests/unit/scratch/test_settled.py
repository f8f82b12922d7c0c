from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.model.checkpoint import Stat
from agent.scratch.mount import file_system_of
from agent.scratch.settled import QUIET_SECONDS, is_settled
from agent.scratch.tree import Tree

NOW = datetime(2026, 11, 23, 9, 15, tzinfo=UTC)


def a_stat(mtime, ctime):
    return Stat(
        mode=0o644,
        uid=0,
        gid=0,
        size=1,
        mtime_ns=int(mtime.timestamp() * 10**9),
        ctime_ns=int(ctime.timestamp() * 10**9),
        inode=1,
    )


@pytest.mark.parametrize(("mtime", "ctime"), [(59, 1000), (1000, 59), (-5, 1000), (0, 0)])
def test_a_file_that_changed_within_the_minute_is_not_settled(mtime, ctime):
    assert not is_settled(a_stat(NOW - timedelta(seconds=mtime), NOW - timedelta(seconds=ctime)), NOW)


def test_a_file_that_rested_for_a_minute_is_settled():
    then = NOW - timedelta(seconds=QUIET_SECONDS)
    assert is_settled(a_stat(then, then), NOW)


def test_a_file_system_in_memory_never_shows_writes_through_mmap():
    assert file_system_of(Path("/dev/shm").stat().st_dev) == "tmpfs"
    assert not Tree(Path("/dev/shm")).shows_writes
    assert file_system_of(0) == ""
