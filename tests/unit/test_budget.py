"""Budgets: never more calls than the platform takes, and always one left for an end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.budget import Budget, edit_interval_s


def budget():
    return Budget(rate=1.0, capacity=5.0, reserve=2.0)


def test_reserve_is_only_for_ends():
    bucket = budget()
    assert [bucket.take(0.0, urgent=False) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.0, urgent=True) for _ in range(3)] == [True, True, False]


def test_calls_come_back_with_time_and_are_not_hoarded():
    bucket = budget()
    for _ in range(5):
        bucket.take(0.0, urgent=True)
    assert not bucket.take(0.9, urgent=True)
    assert bucket.take(1.0, urgent=True)
    assert [bucket.take(1e6, urgent=True) for _ in range(6)].count(True) == 5


def test_refusal_is_obeyed_even_by_an_end():
    bucket = budget()
    bucket.block(10.0, 30.0)
    assert not bucket.take(39.9, urgent=True)
    assert bucket.take(40.0, urgent=True)


def test_after_a_refusal_nothing_is_saved_up():
    bucket = budget()
    bucket.block(0.0, 30.0)
    assert [bucket.take(30.0, urgent=True) for _ in range(5)].count(True) <= 3


def test_refusals_slow_down_and_time_brings_the_rate_back():
    bucket = Budget(rate=0.9, capacity=5.0, reserve=0.0)
    bucket.block(0.0, 10.0)
    bucket.block(1.0, 10.0)  # of the same burst
    assert bucket.rate == pytest.approx(0.675)
    for number in range(40):
        bucket.block(20.0 * (number + 1), 1.0)
    assert bucket.rate == pytest.approx(0.9 / 4)
    assert bucket.room(1_000.0) == 5
    assert 0.9 / 4 < bucket.rate < 0.9
    bucket.room(1e6)
    assert bucket.rate == 0.9


def test_no_room_while_it_is_refused():
    bucket = budget()
    assert bucket.room(0.0) == 5
    bucket.block(0.0, 30.0)
    assert (bucket.room(29.0), bucket.room(31.0) > 0) == (0, True)


def test_shorter_refusal_does_not_shorten_a_longer_one():
    bucket = budget()
    bucket.block(0.0, 30.0)
    bucket.block(1.0, 1.0)
    assert not bucket.take(29.0, urgent=True)


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans()), max_size=80))
def test_no_more_than_capacity_and_rate_in_any_time(steps):
    bucket, at_s, taken = budget(), 0.0, 0
    for step_s, urgent in steps:
        at_s += step_s
        taken += bucket.take(at_s, urgent=urgent)
        assert taken <= 5 + at_s + 1e-6


@pytest.mark.parametrize(
    ("age_s", "interval_s"), [(0, 1.5), (14.9, 1.5), (15, 3.0), (599, 3.0), (600, 5.0), (1e6, 5.0)]
)
def test_edits_become_rarer(age_s, interval_s):
    assert edit_interval_s(age_s) == interval_s
