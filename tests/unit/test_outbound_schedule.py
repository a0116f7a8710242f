"""When a failed delivery is tried again, and what it says."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.delivery import Answer, absolute_links, retry_delay
from webhooks.outbound import retry_after_s

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FAILED = Answer(500, "h answered 500.")
SCHEDULE = [
    (1, timedelta(seconds=5)),
    (2, timedelta(minutes=1)),
    (3, timedelta(minutes=5)),
    (4, timedelta(minutes=30)),
    (5, timedelta(hours=2)),
    (6, timedelta(hours=5)),
    (7, timedelta(hours=10)),
    (8, timedelta(hours=14)),
    (9, timedelta(hours=20)),
    (10, timedelta(hours=24)),
]


def time_since_first_failure(failures, answer=FAILED, jitter=0.0):
    return sum((retry_delay(number, answer, jitter) for number in range(1, failures + 1)), timedelta())


@pytest.mark.parametrize(("failures", "offset"), SCHEDULE)
def test_retry_comes_at_its_offset_from_the_first_failure(failures, offset):
    assert time_since_first_failure(failures) == offset


def test_eleventh_failure_is_the_last():
    assert retry_delay(11, FAILED, 0) is None


@given(st.integers(1, 10), st.floats(-1, 1))
def test_jitter_moves_a_delay_by_a_tenth_at_most(failures, jitter):
    plain, moved = retry_delay(failures, FAILED, 0), retry_delay(failures, FAILED, jitter)
    assert abs(moved - plain) <= plain * 0.1 + timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("asked_s", "delay_s"),
    [(None, 5), (0, 5), (4, 5), (60, 60), (86_400, 86_400), (1e12, 86_400)],
)
def test_longer_retry_after_is_obeyed_up_to_a_day(asked_s, delay_s):
    assert retry_delay(1, Answer(429, "h answered 429.", asked_s), 0) == timedelta(seconds=delay_s)


def test_gone_is_the_last_try():
    assert retry_delay(1, Answer(410, "h answered 410.", 60), 0) is None


@pytest.mark.parametrize(("status", "delivered"), [(199, False), (200, True), (204, True), (299, True), (302, False)])
def test_only_2xx_is_delivered(status, delivered):
    assert Answer(status).delivered is delivered


def test_what_has_no_status_is_delivered_unless_something_went_wrong():
    assert Answer(None).delivered
    assert not Answer(None, "h can't be reached.").delivered


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("120", 120),
        ("0", 0),
        ("-5", None),
        ("1e9", None),
        ("nan", None),
        ("soon", None),
        ("٣", None),
        ("9" * 400, None),
        ("Sun, 01 Mar 2026 12:01:00 GMT", 60),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Sun, 01 Mar 2026 12:01:00", 60),
    ],
)
def test_retry_after_is_a_number_or_a_date(header, seconds):
    assert retry_after_s(header, AT) == seconds


@given(st.text(max_size=40))
def test_no_retry_after_breaks_the_parser(header):
    seconds = retry_after_s(header, AT)
    assert seconds is None or seconds >= 0


def test_links_become_absolute_once():
    payload = json.dumps({"type": "job.completed", "data": {"id": 7, "logs_url": "/api/jobs/7/logs"}})
    once = absolute_links(payload, "https://backup.example.org")
    assert json.loads(once)["data"] == {"id": 7, "logs_url": "https://backup.example.org/api/jobs/7/logs"}
    assert absolute_links(once, "https://elsewhere.example.org") == once


def test_payload_without_a_link_stays():
    assert absolute_links('{"data": {"logs_url": null}}', "https://x") == '{"data": {"logs_url": null}}'
