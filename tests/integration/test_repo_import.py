"""`locutus repo import` as a person runs it: the plan first, then what it said, and no secret shown."""

import json
import os
import socket
import subprocess
from functools import partial

import pytest

from cli.borgmatic.document import read
from cli.borgmatic.plan import Here, plan_of
from cli.borgmatic.timing import Timing
from jobs.clock import now
from jobs.database.unit import unit
from jobs.models import ScheduledJob
from jobs.schedule.request import request_of
from jobs.submit import accept_within
from tests.fakes.command_line import command_line
from tests.fakes.instance import instance, settings_for

CONFIGURATION = """
source_directories: [/home]
repositories: [{path: /backup/photos.borg, label: photos}]
encryption_passcommand: cat /root/secret-file
exclude_caches: true
keep_daily: 7
"""


@pytest.fixture
def run(tmp_path, sqlite_template):
    with command_line(tmp_path, sqlite_template) as locutus:
        yield locutus


@pytest.fixture
def given(tmp_path):
    """The directory with borgmatic's file, and the crontab that ran it."""
    directory = tmp_path / "borgmatic.d"
    directory.mkdir()
    (directory / "photos.yaml").write_text(CONFIGURATION)
    crontab = tmp_path / "crontab"
    crontab.write_text("30 2 * * * root /usr/bin/borgmatic\n")
    return str(directory), "--schedule-from", str(crontab)


def test_plan_is_shown_and_a_dry_run_writes_nothing(run, given):
    said = run("repo", "import", *given, "--dry-run")
    assert "Repository photos at /backup/photos.borg\n  of /home\n" in said
    assert (
        "  schedule 30 2 * * * UTC, then prune, then compact\n"
        f"  prune keeps 7 daily of the archives named {socket.gethostname().partition('.')[0]}-*, those that borgmatic "
        "made included; no other archive is touched\n"
    ) in said
    assert "Without a counterpart:\n  exclude_caches: " in said
    assert json.loads(run("repo", "list", "--json"))["items"] == []


def test_import_makes_what_the_plan_says_once(run, given):
    assert "Repository photos and its schedule is added" in run("repo", "import", *given)
    [row] = json.loads(run("repo", "list", "--json"))["items"]
    assert (row["passphrase_from"], row["check_interval_days"]) == ("passphrase_command", 30)
    [schedule] = json.loads(run("schedule", "list", "--json"))["items"]
    assert (schedule["cron_expression"], schedule["run_prune_after"], schedule["keep_daily"]) == ("30 2 * * *", True, 7)
    assert "There is a repository called photos already. Nothing was written." in run(
        "repo", "import", *given, status=1
    )


@pytest.mark.parametrize("option", ["encryption_passphrase: hidden", "encryption_passcommand: echo hidden"])
def test_passphrase_is_never_shown_and_what_would_be_refused_writes_nothing(run, given, tmp_path, option):
    file = tmp_path / "borgmatic.d" / "photos.yaml"
    file.write_text(CONFIGURATION.replace("encryption_passcommand: cat /root/secret-file", option))
    said = run("repo", "import", *given, "--dry-run", "--json")
    assert json.loads(said)["repositories"][0]["name"] == "photos"
    assert "hidden" not in said + run("repo", "import", *given, "--dry-run")
    file.write_text(CONFIGURATION.replace("/backup/photos.borg", "relative.borg"))
    assert "photos: location: give an absolute path" in run("repo", "import", *given, status=1)
    assert "does not exist" in run("repo", "import", given[0], "--schedule-from", "/nowhere", status=1)
    assert "can't be read" in run("repo", "import", str(tmp_path / "nothing.yaml"), status=1)
    assert json.loads(run("repo", "list", "--json"))["items"] == []


@pytest.mark.parametrize(
    ("option", "timer", "said"),
    [
        ("archive_name_format: '{now}'", "", "photos: archive_name_template: '{now}' needs a fixed part"),
        ("archive_name_format: 'x-{now}-{pid}'", "", "photos: archive_name_template: 'x-{now}-{pid}' has an unknown"),
        ("", "OnCalendar=hourly\nRandomizedDelaySec=1h", "photos-backup: jitter: the runs are 1:00:00 apart"),
    ],
)
def test_plan_that_would_be_refused_in_part_is_refused_as_a_whole(run, given, tmp_path, option, timer, said):
    (tmp_path / "borgmatic.d" / "photos.yaml").write_text(CONFIGURATION + option)
    (tmp_path / "timer").write_text(f"[Timer]\n{timer or 'OnCalendar=daily'}\n")
    assert said in run("repo", "import", given[0], "--schedule-from", str(tmp_path / "timer"), status=1)
    assert json.loads(run("repo", "list", "--json"))["items"] == []


def test_import_without_the_schedule_that_was_refused_says_so(run, given):
    run("repo", "add", "mail", "/backup/mail.borg", "--source", "/home")
    run("schedule", "add", "mail", "0 2 * * *", "--name", "photos-backup")
    said = run("repo", "import", *given, status=1)
    assert "The repository photos is added, but not its schedule: There is a schedule called photos-backup" in said


@pytest.mark.parametrize(("option", "stay"), [("", {"nas-2025-03", "other-2025-01"}), ("keep_within: 1d", None)])
async def test_archives_of_borgmatic_are_pruned_as_the_plan_says_and_others_stay(
    tmp_path, sqlite_url, redis_url, monkeypatch, option, stay
):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    there = made_by_borgmatic(tmp_path)
    file = tmp_path / "borgmatic.yaml"
    file.write_text(
        f"source_directories: [{tmp_path / 'sources'}]\nrepositories: [{{path: {tmp_path / 'repo'}, label: photos}}]\n"
        f"archive_name_format: '{{hostname}}-{{now:%Y-%m}}'\nkeep_last: 2\n{option}\n"
    )
    [planned] = plan_of(read(file), Timing("0 2 * * *"), Here("nas", "nas", "root", "UTC", "/root")).planned
    async with instance(settings_for(tmp_path, sqlite_url, redis_url)) as locutus:
        for path, fields in (
            ("/api/repositories", {**planned.repository, "encryption": "none"}),
            ("/api/scheduled-jobs", planned.schedule),
        ):
            status, answered = await locutus.call("POST", path, json=fields)
            assert status == 201, answered
        row = await ScheduledJob.get()
        first = await unit(partial(accept_within, request_of(row, now(), "photos")))
        backup = await locutus.ended(first.id)
        assert backup.status == "completed", backup.error_message
        _, chain = await locutus.call("GET", f"/api/jobs?parent_id={first.id}")
        for step in chain["items"]:
            assert (await locutus.ended(step["id"])).status == "completed"
    assert listed(tmp_path) == {backup.archive_name} | (stay or there)


def made_by_borgmatic(tmp_path):
    """A repository with archives of this machine and of another one; their names."""
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "file").write_text("a file")
    borg(tmp_path, "init", "--encryption", "none", str(tmp_path / "repo"))
    names = {"nas-2025-01", "nas-2025-02", "nas-2025-03", "other-2025-01"}
    for name in sorted(names):
        archive = f"{tmp_path / 'repo'}::{name}"
        borg(tmp_path, "create", "--timestamp", f"{name[-7:]}-01T00:00:00", archive, str(tmp_path / "sources"))
    return names


def listed(tmp_path):
    return set(borg(tmp_path, "list", "--short", str(tmp_path / "repo")).split())


def borg(tmp_path, *arguments):
    given = {**os.environ, "HOME": str(tmp_path / "home"), "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
    return subprocess.run(["borg", *arguments], env=given, check=True, capture_output=True, text=True).stdout
