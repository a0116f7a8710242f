"""Switches, quiet hours and the hour of the digest."""

from datetime import UTC, datetime

import pytest

from jobs.clock import now
from jobs.events import BackupOverdue, HostSilent, ScheduleMissed
from jobs.notification_rules import end_of_quiet, known_switches, moment_of, switches_of
from jobs.runtime_settings import RuntimeSettings
from jobs.types import JOB_TYPES

BERLIN = "Europe/Berlin"


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-03-01 20:59", None),
        ("2026-03-01 21:00", "2026-03-02 05:30"),
        ("2026-03-02 05:29", "2026-03-02 05:30"),
        ("2026-03-02 05:30", None),
        ("2026-03-28 22:00", "2026-03-29 04:30"),  # the clock goes forward in that night
        ("2026-10-24 22:00", "2026-10-25 05:30"),  # and back in this one
    ],
)
def test_quiet_hours_go_over_midnight_and_by_the_zones_clock(at, expected):
    assert end_of_quiet(utc(at), "22:00", "06:30", BERLIN) == (utc(expected) if expected else None)


def test_quiet_hours_within_a_day():
    assert end_of_quiet(utc("2026-03-01 12:00"), "12:00", "14:00", "UTC") == utc("2026-03-01 14:00")
    assert end_of_quiet(utc("2026-03-01 14:00"), "12:00", "14:00", "UTC") is None


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-03-01 06:29", "2026-03-01 06:30"),
        ("2026-03-01 06:30", "2026-03-02 06:30"),
        ("2026-03-28 23:00", "2026-03-29 05:30"),
    ],
)
def test_digest_is_due_at_the_next_hour_of_the_zone(at, expected):
    assert moment_of(utc(at), "07:30", BERLIN) == utc(expected)


def test_hour_that_the_clock_leaves_out_comes_as_much_later():
    assert moment_of(utc("2026-03-28 12:00"), "02:30", BERLIN) == utc("2026-03-29 01:30")


def test_events_of_no_job_have_a_switch_each():
    missed = ScheduleMissed(scheduled_job_id=1, name="n", repository="r", planned_at=now(), reason="r")
    overdue = BackupOverdue(repository="r", last_backup=None, expected_by=now())
    assert switches_of("schedule.missed", missed) == {"schedule_failure"}
    assert switches_of("backup.overdue", overdue) == {"backup_overdue"}
    assert switches_of("host.silent", HostSilent(host="h", silent_since=now())) == {"host_silent"}


def test_every_switch_of_the_settings_is_known():
    on = {name.removeprefix("notify_on_") for name in RuntimeSettings.model_fields if name.startswith("notify_on_")}
    # Kinds of these names come with their job types.
    to_come = {name for name in on if name.partition("_")[0] in {"restore", "package"}}
    assert on - to_come <= known_switches(JOB_TYPES)
