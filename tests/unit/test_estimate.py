"""Estimates: unknown stays unknown, and what is said is possible."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.estimate import HIGHEST_RUNNING_PERCENT, Pace, Totals, estimated
from jobs.view import Progress

WALL = datetime(2026, 1, 2, tzinfo=UTC)
TOTALS = Totals(1000, 10, "scan")
sizes = st.integers(0, 2**60)
looks = st.lists(st.tuples(st.floats(0.001, 1e6), sizes), max_size=10)


def paced(looks):
    pace, at_s = Pace(100.0, 0), 100.0
    for step_s, size in looks:
        at_s += step_s
        pace = pace.after(at_s, size, WALL)
    return pace


@given(looks, sizes, st.one_of(st.none(), st.builds(Totals, sizes, sizes, st.just("scan"))))
def test_nothing_impossible_is_ever_said(looks, done, totals):
    shown = estimated(Progress(original_size=done), paced(looks), totals)
    if shown.progress_percent is not None:
        assert 0 <= shown.progress_percent <= HIGHEST_RUNNING_PERCENT
    for number in (shown.backup_speed, shown.eta_s):
        assert number is None or (number >= 0 and math.isfinite(number))
    assert (shown.progress_percent is None) == (totals is None or totals.size == 0)
    assert Progress.model_validate_json(shown.model_dump_json()) == shown


@given(looks)
def test_without_a_total_nothing_is_guessed(looks):
    shown = estimated(Progress(original_size=5), paced(looks), None)
    assert (shown.progress_percent, shown.eta_s, shown.total_size, shown.total_from) == (None, None, None, None)


def test_without_a_size_nothing_is_guessed():
    shown = estimated(Progress(), Pace(0.0, 0), TOTALS)
    assert (shown.progress_percent, shown.eta_s, shown.backup_speed) == (None, None, None)


def test_speed_is_unknown_until_something_moved():
    assert Pace(0.0, 0).after(5.0, 0, WALL).speed is None
    assert Pace(0.0, 0).after(5.0, 10, WALL).speed == 2.0


def test_speed_is_smoothed():
    pace = Pace(0.0, 0).after(1.0, 100, WALL).after(2.0, 300, WALL)
    assert pace.speed == pytest.approx(0.3 * 200 + 0.7 * 100)


def test_look_that_saw_no_change_keeps_the_time_of_the_last_one():
    pace = Pace(0.0, 0).after(1.0, 100, WALL)
    assert pace.after(9.0, 100, WALL.replace(year=2027)) == pace


def test_estimate_says_what_it_rests_on():
    shown = estimated(Progress(original_size=250), Pace(0.0, 0).after(5.0, 250, WALL), TOTALS)
    assert (shown.progress_percent, shown.percent_is_estimate) == (25.0, True)
    assert (shown.total_size, shown.total_files, shown.total_from) == (1000, 10, "scan")
    assert shown.eta_s == 15.0
    assert shown.last_activity_at == WALL


@pytest.mark.parametrize("done", [990, 1000, 5000])
def test_running_backup_is_never_shown_as_done(done):
    shown = estimated(Progress(original_size=done), Pace(0.0, 0), TOTALS)
    assert shown.progress_percent == 99.0


def test_figures_that_borg_gave_are_kept():
    given_figures = Progress(original_size=250, nfiles=3, current_file="/a", compressed_size=9)
    shown = estimated(given_figures, Pace(0.0, 0), TOTALS)
    assert (shown.nfiles, shown.current_file, shown.compressed_size) == (3, "/a", 9)
