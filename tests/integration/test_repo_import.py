"""`locutus repo import` as a person runs it: the plan first, then what it said, and no secret shown."""

import json

import pytest

from tests.fakes.command_line import command_line

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
    assert "schedule 30 2 * * *, then prune, keeping 7 daily, then compact" in said
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


def test_passphrase_is_never_shown_and_what_would_be_refused_writes_nothing(run, given, tmp_path):
    file = tmp_path / "borgmatic.d" / "photos.yaml"
    file.write_text(
        CONFIGURATION.replace("encryption_passcommand: cat /root/secret-file", "encryption_passphrase: hidden")
    )
    said = run("repo", "import", *given, "--dry-run", "--json")
    assert json.loads(said)["repositories"][0]["name"] == "photos"
    assert "hidden" not in said + run("repo", "import", *given, "--dry-run")
    file.write_text(CONFIGURATION.replace("/backup/photos.borg", "relative.borg"))
    assert "photos: location: give an absolute path" in run("repo", "import", *given, status=1)
    assert "does not exist" in run("repo", "import", given[0], "--schedule-from", "/nowhere", status=1)
    assert "can't be read" in run("repo", "import", str(tmp_path / "nothing.yaml"), status=1)
    assert json.loads(run("repo", "list", "--json"))["items"] == []
