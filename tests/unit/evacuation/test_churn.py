from agent.evacuation.churn import KEPT, Changed, Churn, expected
from agent.evacuation.estimate import Look


def look(at, *by_age):
    return Look(at=at, files=0, bytes=0, by_age=by_age)


def rate_of(*looks):
    churn = Churn()
    for one in looks:
        churn.add(one)
    return churn.per_second


def test_one_look_tells_no_rate_for_what_it_finds_may_have_changed_long_ago():
    assert rate_of() is None
    assert rate_of(look(0.0, (1.0, 1000))) is None


def test_the_rate_is_what_has_changed_since_the_look_before():
    assert rate_of(look(0.0), look(100.0, (128.0, 7_000_000), (64.0, 3000), (1.0, 2000))) == 50.0


def test_the_most_of_the_last_looks_counts_because_jobs_write_now_and_then():
    busy = look(100.0, (1.0, 1000))
    quiet = [look(100.0 * number) for number in range(2, 2 + KEPT)]
    assert rate_of(look(0.0), busy, *quiet[:-1]) == 10.0
    assert rate_of(look(0.0), busy, *quiet) == 0.0


def test_what_will_have_changed_grows_as_it_did_between_two_looks():
    assert expected(Changed(at=0.0, bytes=0), Changed(at=10.0, bytes=100), until=30.0, most=1000) == 300
    assert expected(Changed(at=10.0, bytes=100), Changed(at=20.0, bytes=110), until=30.0, most=1000) == 120


def test_no_more_changes_than_there_is_and_what_is_written_over_again_counts_once():
    assert expected(Changed(at=0.0, bytes=0), Changed(at=10.0, bytes=100), until=1000.0, most=500) == 500
    assert expected(Changed(at=10.0, bytes=100), Changed(at=20.0, bytes=100), until=1000.0, most=500) == 100
    assert expected(Changed(at=10.0, bytes=100), Changed(at=20.0, bytes=40), until=1000.0, most=500) == 40
