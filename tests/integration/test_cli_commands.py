"""The command line as a person has it, over a data directory on which nothing else runs."""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import structlog
import typer
from typer.testing import CliRunner

from cli import serve
from cli.__main__ import app
from cli.api_client import ApiError, api
from cli.jobs import start_request
from cli.logging import configure_logging
from jobs.database.connection import database
from jobs.database.unit import insert_all, unit
from jobs.hosts import HostTakenError
from jobs.models import AuditEntry
from jobs.settings import Settings, SettingsError
from webhooks.page import GREATEST_LIMIT

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data_dir(tmp_path, sqlite_template):
    """A data directory with an empty, migrated database."""
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    shutil.copy(sqlite_template, path / "locutus.db")
    return path


@pytest.fixture
def variables(tmp_path, data_dir):
    return {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8",
        "LOCUTUS_HOST": "nas", "LOCUTUS_DATA_DIR": str(data_dir),
    }  # fmt: skip


@pytest.fixture
def run(variables):
    """Run one command to its end, in this process; returns its standard output."""

    def locutus(*arguments, status=0, typed=None):
        ended = CliRunner().invoke(app, arguments, input=typed, env=variables)
        assert ended.exit_code == status, ended.output
        return ended.stdout if status == 0 else ended.stderr

    yield locutus
    structlog.reset_defaults()
    logging.basicConfig(force=True)


def started(variables, *arguments):
    """A command in a process of its own, as a shell starts it."""
    command = [sys.executable, "-m", "cli", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextlib.contextmanager
def killed_at_the_end(process):
    """A test that fails leaves nothing behind."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def settings(data_dir, **more):
    return Settings(data_dir=data_dir, host="nas", **more)


@pytest.mark.parametrize(
    ("changed", "status", "said"),
    [
        ({"LOCUTUS_DATA_DIR": "/nonexistent"}, 2, "Start Locutus with `locutus up`, or make the database"),
        ({"LOCUTUS_URL": "http://127.0.0.1:1", "LOCUTUS_TOKEN": "x"}, 1, "http://127.0.0.1:1 can't be reached"),
        ({"LOCUTUS_URL": "http://127.0.0.1:1"}, 2, "LOCUTUS_TOKEN is not set"),
        ({"LOCUTUS_MAX_JOBS": "many"}, 2, "LOCUTUS_MAX_JOBS"),
    ],
)
def test_what_must_be_mended_is_one_line_and_an_exit_status(run, variables, changed, status, said):
    variables.update(changed)
    line = run("repo", "list", status=status)
    assert line.startswith("locutus: ")
    assert line.count("\n") == 1
    assert said in line


async def write_entries(data_dir, count):
    async with database(f"sqlite://{data_dir}/locutus.db"):
        rows = [
            AuditEntry(
                subject=f"slack:T1:U{n}", action="backup.run", origin="slack", result="accepted", detail={"job_id": n}
            )
            for n in range(count)
        ]
        await unit(partial(insert_all, rows))


def test_audit_is_exported_as_json_lines_a_page_at_a_time(run, variables, data_dir):
    pages = 3
    count = (pages - 1) * GREATEST_LIMIT + 7
    asyncio.run(write_entries(data_dir, count))
    rows = [json.loads(line) for line in run("audit", "--lines").splitlines()]
    assert [row["detail"]["job_id"] for row in rows] == list(reversed(range(count)))
    assert {tuple(row) for row in rows} == {("id", "at", "subject", "action", "target", "origin", "result", "detail")}
    (one,) = run("audit", "--lines", "--subject", "slack:T1:U3").splitlines()
    assert json.loads(one)["subject"] == "slack:T1:U3"
    # Who wants no more than the first lines, as `head` does, ends it without a traceback.
    with killed_at_the_end(started(variables, "audit", "--lines")) as export:
        assert json.loads(export.stdout.readline())["detail"] == {"job_id": count - 1}
        export.stdout.close()
        assert "Traceback" not in export.stderr.read()


def test_a_setting_that_ends_a_process_is_one_line_too(variables):
    with killed_at_the_end(started(variables, "gateway")) as gateway:
        answer, told = gateway.communicate(timeout=20)
    assert (gateway.returncode, answer, told.count("\n")) == (2, "", 1)
    assert told.startswith("locutus: LOCUTUS_REDIS_URL is not set.")


@pytest.mark.parametrize(
    ("command", "changed", "said"),
    [
        ("migrate", {"LOCUTUS_DATABASE_URL": "postgres://u:hunter2@127.0.0.1:1/d"}, "The database does not answer"),
        ("up", {"LOCUTUS_DATABASE_URL": "postgres://u:hunter2@127.0.0.1:1/d"}, "The database does not answer"),
        ("migrate", {"LOCUTUS_DATABASE_URL": "postgres://u:hunter2@a..b/d"}, "The database does not answer"),
        ("migrate", {"LOCUTUS_DATABASE_URL": "sqlite:///proc/nope/x.db"}, "/proc/nope/x.db"),
        ("gateway", {"LOCUTUS_REDIS_URL": "redis://:hunter2@h:abc"}, "LOCUTUS_REDIS_URL: give redis://"),
    ],
)
def test_a_process_that_cannot_start_says_one_line_without_a_password(variables, command, changed, said):
    variables.update(changed)
    with killed_at_the_end(started(variables, command)) as process:
        answer, told = process.communicate(timeout=30)
    assert (process.returncode, answer, told.count("\n")) == (2, "", 1), told
    assert told.startswith("locutus: ")
    assert said in told
    assert "hunter2" not in told


def test_a_database_that_is_no_file_ends_migrate_at_once(variables, tmp_path):
    variables["LOCUTUS_DATABASE_URL"] = f"sqlite://{tmp_path}"
    with killed_at_the_end(started(variables, "migrate")) as process:
        _, told = process.communicate(timeout=20)
    assert (process.returncode, told.count("\n")) == (2, 1), told
    assert "unable to open database file" in told


def test_manifest_is_that_of_socket_mode_where_its_token_is_set(run, variables):
    variables["SLACK_APP_TOKEN"] = "xapp-1"
    made = json.loads(run("slack", "manifest"))
    assert made["settings"]["socket_mode_enabled"] is True
    assert "url" not in made["features"]["slash_commands"][0]


def broken(passphrase):
    raise RuntimeError(f"it broke with {len(passphrase)} characters")


def test_errors_of_libraries_are_logged_whole_but_without_the_values_of_variables(capsys):
    configure_logging()
    try:
        broken("hunter" * 2)
    except RuntimeError:
        logging.getLogger("library").exception("failed")
        structlog.get_logger().exception("failed too")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["event"] for line in lines] == ["failed", "failed too"]
    for line in lines:
        assert line["exception"].startswith("Traceback")
        assert line["exception"].endswith("RuntimeError: it broke with 12 characters")
        assert "hunterhunter" not in json.dumps(line)


def failing_with(error):
    async def fail():
        raise error

    return fail()


def test_a_group_of_what_can_be_mended_becomes_its_first_sentence():
    group = BaseExceptionGroup("a", [BaseExceptionGroup("b", [HostTakenError("Taken.")]), SettingsError("Other.")])
    with pytest.raises(SettingsError, match=r"^Taken\.$"):
        serve._run(failing_with(group))


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ExceptionGroup("a", [SettingsError("b"), RuntimeError("c")])])
def test_an_unforeseen_error_keeps_its_traceback(error):
    with pytest.raises(type(error)) as raised:
        serve._run(failing_with(error))
    assert raised.value is error


@pytest.mark.parametrize(
    ("secrets", "missing"),
    [
        ({}, []),
        ({"slack_bot_token": "x", "slack_signing_secret": "y"}, []),
        ({"slack_bot_token": "x"}, ["SLACK_SIGNING_SECRET or SLACK_APP_TOKEN"]),
        ({"slack_bot_token": "x", "slack_app_token": "z"}, []),
        ({"slack_signing_secret": "y"}, ["SLACK_BOT_TOKEN"]),
        ({"discord_public_key": "ab" * 32}, ["DISCORD_TOKEN"]),
    ],
)
def test_half_a_platform_is_warned_of(data_dir, secrets, missing):
    with structlog.testing.capture_logs() as logged:
        serve._warn_of_half_a_platform(settings(data_dir, **secrets))
    assert [line["missing"] for line in logged] == missing


def test_a_repository_is_added_listed_shown_and_forgotten(run):
    added = run("repo", "add", "photos", "/srv/p.borg", "--source", "/srv", "--passphrase-command", "pass show 'a b'")
    assert added == "Repository photos is added; its jobs run on nas.\n"
    assert run("repo", "list").splitlines()[1].split()[:3] == ["photos", "nas", "/srv/p.borg"]
    shown = json.loads(run("repo", "show", "photos", "--json"))
    assert (shown["passphrase_from"], shown["encryption"]) == ("passphrase_command", "repokey-blake2")
    assert "pass show" not in json.dumps(shown)
    assert run("repo", "remove", "photos") == "Repository photos is forgotten; its data stays where it is.\n"
    assert run("repo", "remove", "photos", status=1) == "locutus: There is no repository photos.\n"


def test_a_job_that_no_worker_takes_is_told_and_left_by_interrupt(run, variables):
    run("repo", "add", "photos", "/srv/photos.borg", "--source", "/srv")
    with killed_at_the_end(started(variables, "chat", "/backup run photos")) as chat:
        hint = chat.stderr.readline()
        chat.send_signal(signal.SIGINT)
        answer, told = chat.communicate(timeout=20)
    assert "`locutus up` starts one" in hint
    assert chat.returncode == 130
    assert answer == "Job #1 is queued: backup of photos on nas.\n"
    assert told == "Job #1 goes on without you. `/backup status 1` shows how far it is.\n"
    assert run("jobs", "list").splitlines()[1].split()[:5] == ["1", "backup", "photos", "nas", "pending"]
    assert run("jobs", "show", "1").startswith("Backup of photos #1 pending")
    assert run("jobs", "cancel", "1") == "Job #1 is cancelled.\n"
    assert run("jobs", "retry", "1") == "Job #2 is pending: it does again what #1 did.\n"


def test_a_chat_answer_without_a_job_ends_at_once(run):
    answer = json.loads(run("chat", "--json", "/backup list"))
    assert (answer["job_id"], answer["refused"]) == (None, False)


def test_a_refused_chat_command_has_exit_status_1(run):
    run("chat", "/backup rum demo", status=1)


def test_a_token_is_printed_once_and_alone(run):
    run("repo", "add", "photos", "/srv/photos.borg", "--source", "/srv")
    token = run("token", "add", "ci", "--role", "operate", "--expires", "30d")
    assert token.startswith("locutus_")
    assert token.count("\n") == 1
    assert token.strip() not in run("token", "list", "--json")
    assert run("grant", "token:ci", "administer", "--repository", "photos") == "token:ci may administer on photos.\n"
    assert "token:ci  administer  photos" in run("grant", "--list")
    assert run("grant", "token:ci", "--remove") == "token:ci may no longer administer on photos.\n"
    assert run("token", "remove", "ci") == "Token ci is removed.\n"


def test_an_endpoint_is_added_listed_and_removed_and_a_made_secret_is_printed_alone(run, variables, tmp_path):
    variables["LOCUTUS_SECRET_KEY"] = "k" * 32
    assert run("subscription", "add", "https://ci.example.org/hook").startswith("whsec_")
    given = tmp_path / "secret"
    given.write_text("whsec_" + "c2VjcmV0" * 4 + "\n")
    options = ("--event", "job.failed", "--secret-file", str(given), "--json")
    made = json.loads(run("subscription", "add", "https://ops.example.org", *options))
    assert (made["id"], made["events"], made["secret"]) == (2, ["job.failed"], None)
    assert "2   https://ops.example.org      job.failed" in run("subscription", "list")
    assert "c2VjcmV0" not in run("subscription", "list", "--json")
    assert run("subscription", "remove", "2") == "Subscription 2 is removed.\n"
    assert "can't be read" in run("subscription", "add", "https://x.org", "--secret-file", "/nonexistent", status=1)


def test_the_passphrase_may_come_by_stdin_and_is_refused_without_the_hosts_key(run):
    line = run(
        "repo", "add", "photos", "/srv/p.borg", "--source", "/srv", "--passphrase-stdin", status=1, typed="secret\n"
    )
    assert "the host nas has not reported yet" in line
    assert "secret" not in line


async def test_the_local_api_acts_as_the_person_at_this_host(data_dir):
    body = {"name": "photos", "location": "/srv/x", "source_directories": ["/srv"], "passphrase_command": ["pass"]}
    async with api(settings(data_dir)) as client:
        assert (await client.post("/api/repositories", body))["passphrase_from"] == "passphrase_command"
        started = await client.post("/api/backup/run", {"repository": "photos"})
        job = await client.get(f"/api/jobs/{started['job_id']}")
        assert job["requested_by"].startswith("cli:")
        with pytest.raises(ApiError, match="There is no repository nothing"):
            await client.get("/api/repositories/nothing")


async def test_a_list_is_read_page_by_page_up_to_its_limit(data_dir):
    async with api(settings(data_dir)) as client:
        for number in range(5):
            await client.post("/api/tokens", {"name": f"t{number}", "role": "view"})
        assert [row["name"] for row in await client.items("/api/tokens", 3)] == ["t4", "t3", "t2"]
        assert len(await client.items("/api/tokens")) == 5


async def test_the_console_is_answered_over_the_api(data_dir):
    async with api(settings(data_dir)) as client:
        answer = await client.post("/api/console/commands", {"text": "/backup status 9"})
        assert answer["text"] == "There is no job #9. `/backup status` shows what runs."
        assert (await client.post("/api/console/commands", {"text": ""}))["text"].startswith("`/backup run REPO`")
        with pytest.raises(ApiError, match="There is no job 9"):
            await client.get("/api/console/messages", job_id=9)


def test_a_start_names_its_repository_where_the_route_wants_it():
    assert start_request("backup", "a/b", {"priority": "high"}) == (
        "/api/backup/run",
        {"repository": "a/b", "priority": "high"},
    )


def test_a_kind_that_nothing_starts_is_a_usage_error():
    with pytest.raises(typer.BadParameter, match="backup"):
        start_request("repository_init", "photos", {})


def test_run_takes_the_flags_of_chat_and_a_template(run):
    run("repo", "add", "photos", "/backup/photos", "--source", "/home")
    run("template", "add", "quick", "check", "--set", "max_duration=600")
    assert json.loads(run("template", "list", "--json"))["items"][0]["parameters"] == {"max_duration": 600}
    for flags in (["--max-duration", "600"], ["--template", "quick"]):
        started = json.loads(run("run", "check", "photos", *flags, "--then", "compact", "--json"))
        job = json.loads(run("jobs", "show", str(started["job_id"]), "--json"))
        assert (job["kind"], job["follow_ups"]) == ("check", ["compact"])
    assert "Did you mean `--max-duration`" in run("run", "check", "photos", "--max-durations", "6", status=2)
    assert "locutus run check REPO" in run("run", "check", "photos", "music", status=2)
    run("template", "remove", "quick")
    assert "there is no template called 'quick'" in run("run", "check", "photos", "--template", "quick", status=1)
