"""When schedules run, against an oracle that walks the real minutes, over real changes of real clocks."""

import json
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import example, given
from hypothesis import strategies as st

from jobs.errors import InvalidRequestError
from jobs.schedule.expression import parse
from jobs.schedule.occurrences import next_after, next_runs, upcoming, zone_named

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CHANGES = {
    "Europe/Berlin": ["2024-03-31", "2026-10-25", "1980-04-06"],
    "America/New_York": ["2026-03-08", "2026-11-01", "2007-03-11"],
    "America/Havana": ["2026-03-08", "2026-11-01"],  # at midnight
    "Australia/Lord_Howe": ["2026-04-05", "2026-10-04"],  # half an hour
    "Pacific/Apia": ["2011-12-30", "2012-04-01"],  # a whole day left out
    "Asia/Pyongyang": ["2015-08-15", "2018-05-05"],  # half an hour, once
    "Africa/Casablanca": ["2026-02-15", "2026-03-22"],  # set back for Ramadan
    "America/Caracas": ["2007-12-09", "2016-05-01"],
    "Atlantic/Azores": ["2026-03-29", "2026-10-25"],
    "Antarctica/Troll": ["2026-03-29", "2026-10-25"],  # two hours
    "Asia/Kathmandu": ["1986-01-01"],
    "UTC": ["2026-03-29"],
}
PLACES = [(zone, day) for zone, days in CHANGES.items() for day in days]


def numbers(low, high):
    return st.sets(st.integers(low, high), min_size=1, max_size=4)


hours = st.none() | numbers(0, 4) | st.just({0, 2, 23})
times = st.tuples(st.none() | numbers(0, 59), hours)


def written(minutes, hours):
    fields = (",".join(map(str, sorted(field))) if field else "*" for field in (minutes, hours))
    return " ".join((*fields, "*", "*", "*"))


def oracle(minutes, hours, zone, start, end):
    """The moments from `start` to `end` as the rules say, found by looking at the clock each minute."""
    moments = [start + number * MINUTE for number in range(int((end - start) / MINUTE))]
    walls = [moment.astimezone(zone).replace(tzinfo=None) for moment in moments]

    def named(wall):
        return (minutes is None or wall.minute in minutes) and (hours is None or wall.hour in hours)

    if hours is None:
        return [moment for moment, wall in zip(moments, walls, strict=True) if named(wall)]
    due, newest = [], walls[0]
    for moment, wall in zip(moments[1:], walls[1:], strict=True):
        passed = [newest + number * MINUTE for number in range(1, int((wall - newest) / MINUTE) + 1)]
        if any(map(named, passed)):
            due.append(moment)
        newest = max(newest, wall)
    return due


@given(st.sampled_from(PLACES), times, st.integers(0, 59), st.integers(-16 * 60, 18 * 60))
@example(("Europe/Berlin", "2024-03-31"), ({30}, {2}), 0, -60)
@example(("Europe/Berlin", "2026-10-25"), ({30}, {2}), 0, -60)
@example(("America/Havana", "2026-11-01"), ({30}, None), 0, 200)
def test_moments_around_a_changed_clock_are_those_of_who_looks_at_it_each_minute(place, time, second, offset):
    zone, day = ZoneInfo(place[0]), datetime.fromisoformat(place[1])
    start = day.replace(tzinfo=UTC) - 18 * HOUR
    end = start + 44 * HOUR
    after = day.replace(tzinfo=UTC) + offset * MINUTE + timedelta(seconds=second)
    expected = [moment for moment in oracle(*time, zone, start, end) if moment > after]
    found = list(islice(upcoming(parse(written(*time)), zone, after), min(len(expected), 4)))
    assert found == expected[:4]


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2026-03-29", ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]),
        ("2026-10-25", ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]),
    ],
)
def test_half_past_two_runs_once_when_the_clock_leaves_it_out_or_shows_it_twice(day, expected):
    start = datetime.fromisoformat(day).replace(tzinfo=UTC) - 2 * HOUR
    runs = next_runs(parse("30 2 * * *"), ZoneInfo("Europe/Berlin"), start, 2)
    assert [moment.strftime("%Y-%m-%dT%H:%MZ") for moment in runs] == expected


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "UTC"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "*/40 2-3 * * *", "5 4 1,15 * 3"])
def test_year_of_named_hours_has_a_run_for_each_wall_time_but_those_that_share_a_gap(zone, cron):
    start = datetime(2026, 1, 1, 12, tzinfo=UTC)
    tz = ZoneInfo(zone)
    runs = []
    for moment in upcoming(parse(cron), tz, start):
        if moment > start + 365 * DAY:
            break
        runs.append(moment)
    times = croniter(cron, start.astimezone(tz).replace(tzinfo=None), ret_type=datetime)
    last = (start + 365 * DAY).astimezone(tz).replace(tzinfo=None)
    walls = []
    while (wall := times.get_next()) <= last:
        walls.append(wall)
    shown = {
        wall for wall in walls if wall.replace(tzinfo=tz).astimezone(UTC).astimezone(tz).replace(tzinfo=None) == wall
    }
    assert {moment.astimezone(tz).replace(tzinfo=None) for moment in runs} >= shown
    assert len(shown) <= len(runs) <= len(walls)
    assert runs == sorted(set(runs))


def test_month_of_every_hour_has_each_real_hour_once():
    start = datetime(2026, 3, 1, tzinfo=UTC)
    for month in (start, start.replace(month=10)):
        runs = next_runs(parse("0 * * * *"), ZoneInfo("Europe/Berlin"), month, 31 * 24)
        assert runs == [month + number * HOUR for number in range(1, 31 * 24 + 1)]


@pytest.mark.parametrize(
    ("name", "hint"), [("Europe/Berln", "Europe/Berlin"), ("Europe", "IANA"), ("../etc/passwd", "IANA"), ("", "IANA")]
)
def test_unknown_zone_is_refused_by_field(name, hint):
    with pytest.raises(InvalidRequestError) as refused:
        zone_named(name)
    assert refused.value.field == "timezone"
    assert hint in refused.value.reason or "Did you mean" in refused.value.reason


SYSTEMD = json.loads((Path(__file__).parents[1] / "samples/systemd/calendar.json").read_text())


@pytest.mark.parametrize("case", SYSTEMD, ids=lambda case: f"{case['cron']} {case['zone']} {case['from'][:10]}")
def test_runs_are_systemds_and_those_that_it_drops_when_a_clock_is_set(case):
    """systemd.time(7) has no run for a time that the clock leaves out, and one for an hour that comes twice."""
    systemd = [datetime.fromisoformat(moment) for moment in case["elapses"]]
    ours = upcoming(parse(case["cron"]), ZoneInfo(case["zone"]), datetime.fromisoformat(case["from"]))
    runs = list(takewhile(lambda moment: moment <= systemd[-1], ours))
    assert set(systemd) <= set(runs)
    assert [run.isoformat() for run in runs if run not in systemd] == case["dropped"]


def test_next_moment_is_always_later_even_within_its_second():
    moment = datetime(2026, 5, 1, 0, 30, tzinfo=UTC)
    assert next_after(parse("30 2 * * *"), ZoneInfo("Europe/Berlin"), moment) == moment + DAY
    assert next_after(parse("30 2 * * *"), ZoneInfo("Europe/Berlin"), moment - timedelta(microseconds=1)) == moment
