"""`locutus schedule` and what a repository is expected to be, at the command line."""

import json

import pytest

from tests.fakes.command_line import command_line


@pytest.fixture
def run(tmp_path, sqlite_template):
    with command_line(tmp_path, sqlite_template) as locutus:
        locutus("repo", "add", "photos", "/backup/photos", "--source", "/home")
        yield locutus


def test_schedule_is_added_listed_shown_paused_resumed_and_removed(run):
    assert "There is no schedule nightly" in run("schedule", "pause", "nightly", status=1)
    rules = ("--prune", "keep-daily=7,keep-weekly=4", "--compact", "--jitter", "10m", "--timezone", "Asia/Tokyo")
    said = run("schedule", "add", "photos", "every night at 2", "--name", "nightly", *rules)
    assert said.startswith("Schedule nightly: backup of photos, 0 2 * * * Asia/Tokyo.\nNext runs: ")
    [row] = json.loads(run("schedule", "list", "--json"))["items"]
    assert (row["keep_weekly"], row["run_compact_after"], row["jitter"]) == (4, True, 600)
    assert "nightly" in run("schedule", "list")
    assert "keep weekly" in run("schedule", "show", "nightly")
    assert json.loads(run("schedule", "show", "1", "--json"))["runs"] == []
    assert run("schedule", "pause", "nightly") == "Schedule nightly is paused.\n"
    assert "paused" in run("schedule", "list")
    assert "runs next at" in run("schedule", "resume", "nightly")
    assert json.loads(run("schedule", "remove", "nightly", "--json")) == {"removed": "nightly"}


def test_schedule_that_can_not_be_meant_is_refused_with_the_reason(run):
    assert "'61' is no minute" in run("schedule", "add", "photos", "61 * * * *", status=1)
    assert "is no rule" in run("schedule", "add", "photos", "daily at 2", "--prune", "forever", status=2)


def test_repository_is_expected_to_be_fresh_and_to_be_checked(run):
    said = run("repo", "expect", "photos", "--backup-every", "26h", "--check-every", "30")
    assert said == "Repository photos: its newest archive may have 1 d 2 h; it is checked every 30 days.\n"
    cleared = json.loads(run("repo", "expect", "photos", "--backup-every", "off", "--json"))
    assert (cleared["expected_every"], cleared["check_interval_days"]) == (None, 30)
    assert "No backup of photos is overdue" in run("repo", "acknowledge", "photos", status=1)
    assert "No backup of photos is overdue" in run("repo", "snooze", "photos", "3d", status=1)
