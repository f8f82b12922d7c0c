"""Turns: how many threads work at a time (P9: the agent stays out of the way of jobs)."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent import turns
from agent.turns import Turns, aside

SOON = 10.0


@pytest.fixture
def threads():
    with ThreadPoolExecutor(8) as threads:
        yield threads


class Crowd:
    """Counts who is at work at the same time."""

    def __init__(self):
        self._lock = threading.Lock()
        self._at_work = 0
        self.most = 0

    def work(self, seconds):
        with self._lock:
            self._at_work += 1
            self.most = max(self.most, self._at_work)
        time.sleep(seconds)
        with self._lock:
            self._at_work -= 1


@pytest.mark.parametrize("count", [1, 3])
def test_p9_as_many_threads_work_at_a_time_as_there_are_turns(threads, count):
    some, crowd = Turns(count), Crowd()

    def work(_):
        with some.taken():
            crowd.work(0.02)

    list(threads.map(work, range(16)))
    assert crowd.most == count


def test_whoever_waits_for_something_else_lets_another_have_its_turn(threads):
    some, may_go_on = Turns(1), threading.Event()

    def wait():
        with some.taken(), aside():
            return may_go_on.wait(SOON)

    def work():
        with some.taken():
            may_go_on.set()

    waiting = threads.submit(wait)
    threads.submit(work).result(SOON)
    assert waiting.result(SOON)


def test_whoever_was_aside_works_only_when_it_has_a_turn_again(threads):
    some, crowd = Turns(1), Crowd()

    def work(_):
        with some.taken():
            for _ in range(5):
                with aside():
                    time.sleep(0.001)
                crowd.work(0.002)

    list(threads.map(work, range(8)))
    assert crowd.most == 1


def test_a_turn_comes_back_when_its_work_fails(threads):
    some = Turns(1)

    def fail():
        with some.taken():
            raise OSError

    def work():
        with some.taken():
            return True

    with pytest.raises(OSError):
        threads.submit(fail).result(SOON)
    began = time.monotonic()
    assert threads.submit(work).result(SOON)
    assert time.monotonic() - began < turns.LONGEST, "it did not have to go on without"


def test_p3_one_that_is_stuck_holds_up_no_other_for_longer_than_a_while(threads, monkeypatch):
    monkeypatch.setattr(turns, "LONGEST", 0.05)
    some, is_free = Turns(1), threading.Event()

    def be_stuck():
        with some.taken():
            is_free.wait(SOON)

    def work():
        with some.taken(), aside():
            return True

    stuck = threads.submit(be_stuck)
    assert threads.submit(work).result(SOON)
    is_free.set()
    stuck.result(SOON)
    monkeypatch.setattr(turns, "LONGEST", SOON)
    crowd = Crowd()

    def count(_):
        with some.taken():
            crowd.work(0.01)

    list(threads.map(count, range(8)))
    assert crowd.most == 1, "the one that went on without a turn gave none back"


def test_a_thread_without_a_turn_steps_aside_for_nobody():
    some = Turns(1)
    with aside(), some.taken():
        pass
