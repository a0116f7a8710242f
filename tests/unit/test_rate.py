"""So many in a time, whenever they come."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.rate import Rate


@given(st.integers(1, 5), st.sampled_from("smhd"), st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=40))
def test_never_more_than_twice_the_number_in_a_period_and_always_the_first_ones(number, unit, gaps):
    rate = Rate.parse(f"{number}/{unit}")
    period_s, at_s, paid_s, taken = rate.period.total_seconds(), 0.0, 0.0, []
    for gap in gaps:
        at_s += gap * period_s / number
        until_s = rate.paid_until(paid_s, at_s)
        if until_s is not None:
            paid_s = until_s
            taken.append(at_s)
    assert len(taken) >= min(number, len(gaps))
    assert all(sum(start <= each < start + period_s for each in taken) <= 2 * number for start in taken)


def test_whole_number_may_come_at_once_and_then_one_at_a_time():
    rate, paid_s = Rate.parse("3/m"), 0.0
    for _ in range(3):
        paid_s = rate.paid_until(paid_s, 100.0)
    assert rate.paid_until(paid_s, 100.0) is None
    assert rate.paid_until(paid_s, 119.9) is None
    assert rate.paid_until(paid_s, 120.0) == 180.0
